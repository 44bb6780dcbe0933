"""A turn from request to database: the answer is streamed, and question, answer and cost are stored."""

import itertools
import json
import time
from decimal import Decimal
from uuid import UUID, uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.llm.providers import PROVIDERS
from shared.settings import load_settings
from tests.serving import Client, environment, mocked, serve, serve_on_lambda

USER = uuid4()
MOCKED_PROVIDERS = [row.name for row in PROVIDERS.values() if row.settings_prefix]


SERVERS = {"uvicorn": lambda environ: serve(load_settings(environ)), "lambda": serve_on_lambda}


@pytest.fixture(params=SERVERS)
def serve_function(request):
    """Runs each test with uvicorn and with the Lambda emulator, which uses the real bootstraps."""
    return SERVERS[request.param]


def environment_for(database, mock, model, **environ):
    return mocked(database.url, mock, model, **environ)


def read_events(response):
    return [event.json() for event in httpx_sse.EventSource(response).iter_sse()]


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_a_turn_is_streamed_stored_and_priced(serve_function, database, mock, provider):
    with (
        serve_function(environment_for(database, mock, f"{provider}/mock:tokens=12,thinking=3")) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "How are you?"}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = read_events(response)

    text = answer_text("tokens=12")
    *tokens, done = events
    assert {event["type"] for event in tokens} == {"token"}
    assert "".join(event["content"] for event in tokens) == text
    assert done["type"] == "done"
    assert done["messageId"] == response.headers["x-message-id"]
    usage = done["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    question, answer = database.rows("select * from messages order by created_at, id")
    assert (question["role"], question["content"], question["status"]) == ("user", "How are you?", "complete")
    assert (answer["role"], answer["content"], answer["status"]) == ("assistant", text, "complete")
    assert answer["id"] == UUID(done["messageId"])
    assert answer["token_count"] == usage["completion_tokens"]
    assert str(answer["conversation_id"]) == response.headers["x-conversation-id"]
    [conversation] = database.rows("select * from conversations")
    assert (conversation["user_id"], conversation["title"]) == (USER, "How are you?")
    assert conversation["message_count"] == 2

    [row] = database.rows("select * from usage_logs")
    assert (row["user_id"], row["message_id"]) == (USER, answer["id"])
    assert (row["provider"], row["status"], row["estimated"]) == (provider, "complete", False)
    assert (row["tokens_in"], row["tokens_out"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    # The models of the mock have no price. Ollama is free.
    expected = (Decimal(5) * row["tokens_in"] + Decimal(15) * row["tokens_out"]) / 1_000_000
    assert row["cost_usd"] == (0 if provider == "ollama" else expected)
    assert row["priced"] == (provider == "ollama")
    assert 0 <= row["ttft_ms"] <= row["duration_ms"]


@pytest.mark.wall_clock
def test_tokens_are_relayed_when_they_arrive(serve_function, database, mock):
    with (
        serve_function(environment_for(database, mock, "openai/mock:tokens=8,gap=200ms")) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        arrived = [time.monotonic() for _ in httpx_sse.EventSource(response).iter_sse()][:8]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    assert sum(gaps) == pytest.approx(7 * 0.2, abs=0.3)
    # If tokens were buffered, most gaps would be 0.
    assert sum(gap > 0.08 for gap in gaps) >= 5


def test_the_prompt_has_the_newest_messages_of_the_conversation(serve_function, database, mock):
    mock.reset()
    environ = environment_for(database, mock, "openai/mock:tokens=2", HISTORY_MESSAGES="3")
    with serve_function(environ) as url, Client(url, USER) as client:
        conversation = client.post("/chat-stream", json={"message": "first"}).headers["x-conversation-id"]
        for message in ("second", "third"):
            question = {"message": message, "conversationId": conversation}
            assert client.post("/chat-stream", json=question).status_code == 200
        page = client.get(f"/api/chat/conversations/{conversation}/messages").json()
    sent = json.loads(mock.stats()["requests"][-1]["body"])["messages"]
    answer = answer_text("tokens=2")
    assert [m["content"] for m in sent if m["role"] != "system"] == ["second", answer, "third"]
    assert sent[0]["role"] == "system"
    assert "Coach" in sent[0]["content"]
    assert page["total"] == 6
    assert [m["content"] for m in page["messages"]] == ["first", answer, "second", answer, "third", answer]


def test_a_turn_uses_an_existing_conversation(serve_function, database, mock):
    with (
        serve_function(environment_for(database, mock, "openai/mock:tokens=2")) as url,
        Client(url, USER) as client,
    ):
        created = client.post("/api/chat/conversations", json={"title": "Sleep"})
        assert created.status_code == 201
        question = {"message": "Hi", "conversationId": created.json()["id"]}
        assert client.post("/chat-stream", json=question).headers["x-conversation-id"] == created.json()["id"]
        page = client.get(f"/api/chat/conversations/{created.json()['id']}/messages").json()
    assert [message["role"] for message in page["messages"]] == ["user", "assistant"]
    assert database.rows("select title from conversations") == [{"title": "Sleep"}]


def test_the_scripted_model_needs_no_provider(serve_function, database):
    with serve_function(environment(database.url)) as url, Client(url, USER) as client:
        response = client.post("/chat-stream", json={"message": "I want to sleep better"})
    assert (
        "I want to sleep better"
        in database.rows("select content from messages where role = 'assistant'")[0]["content"]
    )
    assert read_events(response)[-1]["type"] == "done"
    assert database.rows("select provider, model, cost_usd, priced from usage_logs") == [
        {"provider": "scripted", "model": "echo", "cost_usd": 0, "priced": True}
    ]
