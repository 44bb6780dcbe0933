"""A client that repeats its POST with `Last-Event-ID` gets the rest of the answer. No other turn starts."""

import json
from uuid import uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve

USER = uuid4()
BODY = {"message": "Hi"}
KEY = {"idempotency-key": "a-key-of-the-client"}
keys = pytest.mark.parametrize("key", [{}, KEY], ids=["without a key", "with a key"])


def settings_for(database, mock, script, **environ):
    mock.reset()
    return load_settings(mocked(database.url, mock, f"openai/mock:{script}", **environ))


def post(client, last=None, body=BODY, **headers):
    resuming = {} if last is None else {"last-event-id": last}
    return client.post("/chat-stream", json=body, headers={**headers, **resuming})


def events_of(response):
    assert response.status_code == 200, response.text
    return [event for event in httpx_sse.EventSource(response).iter_sse() if event.data]


def text_of(events):
    return "".join(event.json().get("content", "") for event in events)


def read_until(response, length):
    """The text of a stream up to `length` characters or more, and the id of the last event."""
    text, last = "", ""
    for event in httpx_sse.EventSource(response).iter_sse():
        text, last = text + event.json()["content"], event.id
        if len(text) >= length:
            break
    return text, last


@keys
def test_a_repeated_request_continues_a_running_answer(database, mock, key):
    with serve(settings_for(database, mock, "tokens=50,gap=30ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json=BODY, headers=key) as response:
            answer_id = response.headers["x-message-id"]
            text, last = read_until(response, 40)
        again = post(client, last, **key)
        rest = events_of(again)
    assert text + text_of(rest) == answer_text("tokens=50")
    assert rest[-1].json()["type"] == "done"
    assert again.headers["x-message-id"] == answer_id
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    assert len(database.rows("select 1 from usage_logs")) == 1


@keys
def test_a_repeated_request_continues_after_every_event_of_a_finished_answer(database, mock, key):
    with serve(settings_for(database, mock, "tokens=8")) as url, Client(url, USER) as client:
        events = events_of(post(client, **key))
        for number, event in enumerate(events[:-1], 1):
            rest = events_of(post(client, event.id, **key))
            assert text_of(rest) == text_of(events[number:])
            assert (rest[-1].id, rest[-1].data) == (events[-1].id, events[-1].data)
        assert events[-1].id == f"{len(answer_text('tokens=8'))}.end"
        assert post(client, events[-1].id, **key).status_code == 204
    assert mock.stats()["hits"] == 1


@keys
def test_a_request_that_continues_an_unknown_answer_is_409_and_starts_no_turn(database, mock, key):
    configured = settings_for(database, mock, "tokens=5", RATE_LIMIT_CHAT="1/60")
    with serve(configured) as url, Client(url, USER) as client:
        refused = [post(client, last, **key) for last in ("0", "5", "5.1")]
        assert mock.stats()["hits"] == 0
        assert database.rows("select 1 from turns") == []
        # The refused requests do not count for the rate limit.
        assert post(client, **key).status_code == 200
    assert {(response.status_code, response.json()["code"]) for response in refused} == {(409, "conflict")}


@pytest.mark.parametrize("difference", ["user", "body", "conversation", "key"])
def test_only_the_same_user_and_request_continue_an_answer(database, mock, difference):
    other_user = uuid4() if difference == "user" else USER
    with (
        serve(settings_for(database, mock, "tokens=5")) as url,
        Client(url, USER) as client,
        Client(url, other_user) as other,
    ):
        first = post(client, **(KEY if difference == "key" else {}))
        body = BODY | {
            "body": {"message": "Hi!"},
            "conversation": {"conversationId": first.headers["x-conversation-id"]},
        }.get(difference, {})
        assert post(other, "4", body=body).status_code == 409
    assert mock.stats()["hits"] == 1


def test_the_newest_of_equal_requests_is_continued(database, mock):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        answers = [post(client).headers["x-message-id"] for _ in range(3)]
        again = post(client, "4")
    assert again.headers["x-message-id"] == answers[-1]


def test_without_a_key_an_answer_is_continued_for_10_minutes(database, mock):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        post(client)
        database.rows("update turns set created_at = now() - interval '9 minutes 50 seconds'")
        assert post(client, "4").status_code == 200
        database.rows("update turns set created_at = now() - interval '10 minutes 10 seconds'")
        assert post(client, "4").status_code == 409
        # A turn that is still running can be older.
        database.rows("update turns set status = 'running', settled_at = null")
        assert post(client, "4").status_code == 200


def test_with_a_key_an_answer_is_continued_later_too(database, mock):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        post(client, **KEY)
        database.rows("update turns set created_at = now() - interval '1 day'")
        assert text_of(events_of(post(client, "4", **KEY))) == answer_text("tokens=5")[4:]
        assert post(client, "4", body={"message": "Hello"}, **KEY).status_code == 422


@keys
def test_a_failed_answer_is_not_asked_for_again(database, mock, key):
    with serve(settings_for(database, mock, "401")) as url, Client(url, USER) as client:
        assert post(client, **key).status_code == 502
        hits = mock.stats()["hits"]
        [end] = events_of(post(client, "0", **key))
        assert (end.json()["type"], end.id) == ("error", "0.end")
        assert post(client, end.id, **key).status_code == 204
    assert mock.stats()["hits"] == hits


def test_an_event_source_that_stays_at_a_finished_answer_ends(database, mock):
    with (
        serve(settings_for(database, mock, "tokens=5")) as url,
        Client(url, USER) as client,
        Client(url, uuid4()) as other,
    ):
        first = post(client)
        headers = {"last-event-id": events_of(first)[-1].id}
        path = f"/api/chat/messages/{first.headers['x-message-id']}/stream"
        end = client.get(path, headers=headers)
        assert (end.status_code, end.content) == (204, b"")
        assert other.get(path, headers=headers).status_code == 404
        assert client.get(path, headers={"last-event-id": "999.end"}).status_code == 400


@pytest.mark.parametrize("last", ["x", "-1", "5.", "5.end2", ".end", "5.END", "1" * 10])
def test_a_wrong_last_event_id_is_400_and_starts_no_turn(database, mock, last):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        refused = post(client, last)
    assert (refused.status_code, refused.json()["field"]) == (400, "Last-Event-ID")
    assert mock.stats()["hits"] == 0


def test_an_empty_last_event_id_starts_a_turn(database, mock):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        assert text_of(events_of(post(client, ""))) == answer_text("tokens=5")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stream-chat", {}),
        ("/api/chat", {}),
        ("/api/stream", {"model": "openai/mock:tokens=5"}),
        ("/v1/chat/completions", {"model": "openai/mock:tokens=5"}),
    ],
)
def test_formats_without_event_ids_ignore_the_header(database, mock, path, body):
    body = body | {"messages": [{"role": "user", "content": "Hi"}]}
    headers = {"last-event-id": "5.end"}
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        response = client.post(path, json=body, headers=headers)
    assert response.status_code == 200
    assert json.dumps(answer_text("tokens=5")[:4])[1:-1] in response.text
