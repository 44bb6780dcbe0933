"""Requests with the same idempotency key are one turn: one model call, one pair of messages, one cost."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve, serve_in_a_process

USER = uuid4()
KEY = {"idempotency-key": "a-key-of-the-client"}


def settings_for(database, mock, script, **environ):
    return load_settings(mocked(database.url, mock, f"openai/mock:{script}", **environ))


def text_of(response):
    events = [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]
    assert events[-1]["type"] == "done", events[-1]
    return "".join(event["content"] for event in events if event["type"] == "token")


def test_twenty_parallel_posts_to_two_processes_are_one_turn(database, mock):
    mock.reset()
    environ = mocked(database.url, mock, "openai/mock:tokens=20,gap=30ms")
    with serve_in_a_process(environ) as one, serve_in_a_process(environ) as two:

        def post(number):
            with Client(one if number % 2 else two, USER) as client:
                return client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)

        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(post, range(20)))
    assert {response.status_code for response in responses} == {200}
    assert {text_of(response) for response in responses} == {answer_text("tokens=20")}
    assert len({response.headers["x-message-id"] for response in responses}) == 1
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    assert len(database.rows("select 1 from usage_logs")) == 1


def test_a_finished_turn_is_replayed_without_asking_the_model(database, mock):
    mock.reset()
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        first = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
        again = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert text_of(again) == text_of(first)
    assert again.text.split("\n")[-3] == first.text.split("\n")[-3]  # usage and message id included
    assert mock.stats()["hits"] == 1


def test_another_body_under_the_same_key_is_refused(database, mock):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
        other = client.post("/chat-stream", json={"message": "Hello"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(database.rows("select 1 from messages")) == 2


def test_equal_keys_of_two_users_are_independent(database, mock):
    with (
        serve(settings_for(database, mock, "tokens=5")) as url,
        Client(url, USER) as alice,
        Client(url, uuid4()) as bob,
    ):
        first = alice.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
        second = bob.post("/chat-stream", json={"message": "Hello"}, headers=KEY)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["x-message-id"] != second.headers["x-message-id"]


def test_a_turn_that_no_model_answered_runs_again_on_the_same_question(database, mock):
    refusing = settings_for(database, mock, "401")
    answering = settings_for(database, mock, "tokens=5")
    with serve(refusing) as url, Client(url, USER) as client:
        refused = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    with serve(answering) as url, Client(url, USER) as client:
        answered = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert (refused.status_code, answered.status_code) == (502, 200)
    assert refused.headers["x-message-id"] == answered.headers["x-message-id"]
    rows = database.rows("select role, content, status from messages order by created_at, id")
    assert [tuple(row.values()) for row in rows] == [
        ("user", "Hi", "complete"),
        ("assistant", answer_text("tokens=5"), "complete"),
    ]


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel"])
def test_an_invalid_key_is_400(database, mock, key):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        headers = {"idempotency-key": key.encode()}
        response = client.post("/chat-stream", json={"message": "Hi"}, headers=headers)
    assert (response.status_code, response.json()["field"]) == (400, "Idempotency-Key")
    assert database.rows("select 1 from messages") == []


def test_a_second_post_follows_the_running_answer(database, mock):
    with serve(settings_for(database, mock, "tokens=60,gap=30ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}, headers=KEY) as first:
            chunks = first.iter_bytes()
            next(chunks)
            with (
                Client(url, USER) as other,
                other.stream("POST", "/chat-stream", json={"message": "Hi"}, headers=KEY) as second,
            ):
                events = [event.json() for event in httpx_sse.EventSource(second).iter_sse()]
            assert list(chunks)
    assert events[-1]["type"] == "done"
    tokens = [event["content"] for event in events if event["type"] == "token"]
    assert "".join(tokens) == answer_text("tokens=60")
    assert len(tokens) > 1  # the text came in pieces, not only at the end


def test_an_interrupted_answer_is_replayed_as_json_with_its_own_status(database, mock):
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": False}
    with serve(settings_for(database, mock, "tokens=3")) as url, Client(url, USER) as client:
        conversation = client.post("/api/chat/conversations", json={}).json()["id"]
        body["conversation_id"] = conversation
        client.post("/api/chat", json=body, headers=KEY)
        # This is the state after a process died in the middle of the answer.
        database.rows(
            "update messages set status = 'interrupted', metadata = '{}' where role = 'assistant';"
            "update turns set status = 'interrupted'"
        )
        again = client.post("/api/chat", json=body, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (503, "interrupted")
