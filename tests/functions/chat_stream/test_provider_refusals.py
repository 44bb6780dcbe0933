"""Questions that a provider refuses, and the model that answers."""

import json
import time
from uuid import uuid4

import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve

USER = uuid4()
TEXT = answer_text("tokens=3")
# A header of this kind of script would hold for all requests; a name holds for one model.
FILTER = "openai/mock:tokens=3,filter=FLAGGED"


def settings_for(database, mock, model=FILTER, **environ):
    return load_settings(mocked(database.url, mock, model, **environ))


def ask(client, message, conversation_id=None, **more):
    body = {"message": message, "conversationId": conversation_id, **more.pop("body", {})}
    return client.post("/chat-stream", json=body, **more)


def events_of(response):
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]


def last_prompt(mock):
    messages = json.loads(mock.stats()["requests"][-1]["body"])["messages"]
    return [(each["role"], each["content"]) for each in messages if each["role"] != "system"]


def messages_of(database):
    return database.rows("select role, content, status, metadata from messages order by created_at, id")


def test_a_question_that_a_filter_refused_stays_in_the_conversation_and_leaves_the_prompt(database, mock):
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        conversation = ask(client, "One").headers["x-conversation-id"]
        refused = ask(client, "FLAGGED", conversation)
        later = ask(client, "Two", conversation)
        shown = client.get(f"/api/chat/conversations/{conversation}/messages").json()["messages"]
    assert (refused.status_code, refused.json()["code"]) == (400, "content_filter")
    assert later.status_code == 200
    assert last_prompt(mock) == [("user", "One"), ("assistant", TEXT), ("user", "Two")]
    assert [(each["content"], each["metadata"].get("refused")) for each in shown][2:4] == [
        ("FLAGGED", True),
        ("", True),
    ]


@pytest.mark.parametrize("route", ["/chat-stream", "/api/chat", "/api/stream", "/api/ui/chat"])
def test_a_refused_question_leaves_the_prompt_in_all_formats(database, mock, route):
    def post(client, text):
        message = {"id": f"id {text}", "role": "user", "parts": [{"type": "text", "text": text}]}
        plain = [{"role": "user", "content": text}]
        return client.post(
            route,
            json={
                "/chat-stream": {"message": text, "conversationId": conversation},
                "/api/chat": {"messages": plain, "conversation_id": conversation},
                "/api/stream": {"messages": plain, "model": FILTER, "chatId": conversation},
                "/api/ui/chat": {"id": conversation, "messages": [message]},
            }[route],
        )

    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        conversation = ask(client, "One").headers["x-conversation-id"]
        assert [post(client, text).status_code for text in ("FLAGGED", "Two")] == [400, 200]
    assert last_prompt(mock) == [("user", "One"), ("assistant", TEXT), ("user", "Two")]


def test_a_refused_question_that_is_asked_again_is_in_the_prompt_and_loses_its_mark(database, mock):
    key = {"idempotency-key": "k"}
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        conversation = ask(client, "One").headers["x-conversation-id"]
        assert ask(client, "FLAGGED", conversation, headers=key).status_code == 400
    with serve(settings_for(database, mock, "openai/mock:tokens=3")) as url, Client(url, USER) as client:
        assert ask(client, "FLAGGED", conversation, headers=key).status_code == 200
        assert last_prompt(mock)[-1] == ("user", "FLAGGED")
        ask(client, "Two", conversation)
    assert last_prompt(mock)[2:] == [("user", "FLAGGED"), ("assistant", TEXT), ("user", "Two")]
    assert not any("refused" in row["metadata"] for row in messages_of(database))


def test_an_answer_that_a_filter_cut_leaves_the_prompt_with_its_question(database, mock):
    """Anthropic refuses each later question of a conversation with a refused one."""
    with serve(settings_for(database, mock, "anthropic/mock:obey")) as url, Client(url, USER) as client:
        conversation = ask(client, "mock:tokens=3").headers["x-conversation-id"]
        cut = ask(client, "mock:tokens=2,finish=content_filter", conversation)
        assert events_of(cut)[-1]["finishReason"] == "content_filter"
        ask(client, "mock:tokens=3", conversation)
    assert last_prompt(mock) == [("user", "mock:tokens=3"), ("assistant", TEXT), ("user", "mock:tokens=3")]
    assert [row["metadata"].get("refused") for row in messages_of(database)] == [
        None,
        None,
        True,
        True,
        None,
        None,
    ]


def test_a_regenerated_answer_that_is_accepted_removes_the_mark(database, mock):
    def body(trigger):
        message = {"id": "q", "role": "user", "parts": [{"type": "text", "text": "FLAGGED"}]}
        return {"id": "chat", "messages": [message], "trigger": trigger}

    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        assert client.post("/api/ui/chat", json=body("submit-message")).status_code == 400
    with serve(settings_for(database, mock, "openai/mock:tokens=3")) as url, Client(url, USER) as client:
        assert client.post("/api/ui/chat", json=body("regenerate-message")).status_code == 200
    assert last_prompt(mock) == [("user", "FLAGGED")]
    assert not any("refused" in row["metadata"] for row in messages_of(database))


@pytest.mark.parametrize(
    ("script", "code"),
    [("404", "model_not_found"), ("400", "invalid_request"), ("context=1", "context_length_exceeded")],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_a_permanent_refusal_is_a_400_with_its_code(database, mock, script, code, is_named):
    model = f"openai/mock:{script}"
    with serve(settings_for(database, mock, model)) as url, Client(url, USER) as client:
        refused = ask(client, "Hi", body={"model": model} if is_named else {})
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    *_, answer = messages_of(database)
    assert (answer["status"], answer["metadata"]) == ("error", {"code": code})


def test_a_named_model_that_refuses_is_not_replaced_and_one_with_an_outage_is(database, mock):
    fallback = "ollama/mock:tokens=3"
    config = settings_for(
        database, mock, "openai/mock:404", LLM_FALLBACK_MODELS=fallback, LLM_ALLOWED_MODELS="anthropic/*"
    )
    with serve(config) as url, Client(url, USER) as client:
        named = [
            ask(client, "Hi", body={"model": f"anthropic/mock:{script}"}) for script in ("404", "401", "500")
        ]
        default = ask(client, "Hi")
    assert [response.status_code for response in named] == [400, 502, 200]
    assert named[1].json()["code"] == "upstream_auth"
    # The default model of the deployment answers before the fallbacks; it is not there.
    assert [response.headers["x-model"] for response in (named[2], default)] == [fallback] * 2
    assert events_of(default)[-1]["model"] == fallback


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/chat-stream", {"message": "Hi"}),
        ("/stream-chat", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/api/chat", {"messages": [{"role": "user", "content": "Hi"}], "stream": False}),
        ("/api/stream", {"messages": [{"role": "user", "content": "Hi"}], "model": FILTER}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "model": FILTER}),
        (
            "/api/ui/chat",
            {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]},
        ),
    ],
)
def test_all_answers_name_the_model(database, mock, route, body):
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        response = client.post(route, json=body)
        assert (response.status_code, response.headers["x-model"]) == (200, FILTER)


def test_a_replay_names_the_model_that_answered(database, mock):
    fallback = "ollama/mock:tokens=30&gap=50ms"
    config = settings_for(database, mock, "openai/mock:500", LLM_FALLBACK_MODELS=fallback)
    with serve(config) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]
            time.sleep(1)  # the first checkpoint saves the model
            running = client.get(f"/api/chat/messages/{answer_id}/stream")
        finished = client.get(f"/api/chat/messages/{answer_id}/stream")
    for replay in (running, finished):
        assert replay.headers["x-model"] == fallback
        assert events_of(replay)[-1]["model"] == fallback


def test_a_model_name_cannot_forge_a_header(database, mock):
    config = settings_for(database, mock, LLM_ALLOWED_MODELS="openai/*")
    with serve(config) as url, Client(url, USER) as client:
        response = ask(client, "Hi", body={"model": "openai/é\r\nx-forged: 1:tokens=1"})
    assert response.headers["x-model"] == "openai/%C3%A9%0D%0Ax-forged:%201:tokens=1"
    assert "x-forged" not in response.headers


@pytest.mark.wall_clock
def test_the_time_to_the_first_token_counts_from_the_request_to_the_provider(database, mock):
    config = settings_for(database, mock, "openai/mock:headers=1,first=1.5", LLM_FIRST_TOKEN_TIMEOUT="2")
    with serve(config) as url, Client(url, USER) as client:
        started_at = time.monotonic()
        response = ask(client, "Hi")
        took = time.monotonic() - started_at
    assert [event["type"] for event in events_of(response)] == ["error"]
    assert events_of(response)[-1]["code"] == "upstream_timeout"
    assert 1.9 < took < 2.4


@pytest.mark.wall_clock
def test_a_provider_that_accepts_the_request_after_that_time_is_a_timeout(database, mock):
    config = settings_for(database, mock, "openai/mock:headers=2", LLM_FIRST_TOKEN_TIMEOUT="0.5")
    with serve(config) as url, Client(url, USER) as client:
        started_at = time.monotonic()
        response = ask(client, "Hi")
        took = time.monotonic() - started_at
    assert (response.status_code, response.json()["code"]) == (502, "upstream_timeout")
    assert took < 1.2


@pytest.mark.parametrize("provider", ["openai", "anthropic", "nvidia"])
def test_an_answer_without_text_that_a_filter_ended_leaves_the_prompt(database, mock, provider):
    with serve(settings_for(database, mock, f"{provider}/mock:obey")) as url, Client(url, USER) as client:
        first = ask(client, "mock:tokens=0,finish=content_filter")
        conversation = first.headers["x-conversation-id"]
        ask(client, "mock:tokens=3", conversation)
    assert events_of(first)[-1]["finishReason"] == "content_filter"
    assert last_prompt(mock) == [("user", "mock:tokens=3")]
