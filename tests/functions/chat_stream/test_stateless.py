"""Stateless turns, of which only the cost is stored, and turns that continue without the database."""

import json
import threading
import time
from uuid import UUID, uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve

USER = uuid4()
MESSAGES = [{"role": "user", "content": "Hi"}]
STATELESS = {
    "/stream-chat": {"messages": MESSAGES},
    "/api/chat": {"messages": MESSAGES},
    "/v1/chat/completions": {"model": "mock:tokens=5", "messages": MESSAGES, "stream": True},
}


def settings_for(database, mock, script="tokens=5", **environ):
    return load_settings(mocked(database.url, mock, f"openai/mock:{script}", **environ))


@pytest.mark.parametrize("route", STATELESS)
def test_only_the_cost_of_a_stateless_turn_is_stored(database, mock, route):
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        response = client.post(route, json=STATELESS[route])
    assert response.status_code == 200
    assert response.text.endswith("data: [DONE]\n\n")
    assert "x-conversation-id" not in response.headers
    assert database.rows("select 1 from messages") == database.rows("select 1 from conversations") == []
    [usage] = database.rows("select * from usage_logs")
    assert usage["user_id"] == USER
    assert usage["message_id"] == UUID(response.headers["x-message-id"])
    assert (usage["conversation_id"], usage["status"]) == (None, "complete")


@pytest.mark.parametrize("route", STATELESS)
def test_a_request_without_a_token_needs_allow_anonymous(database, mock, route):
    with serve(settings_for(database, mock, ALLOW_ANONYMOUS="true")) as url, Client(url) as client:
        assert client.post(route, json=STATELESS[route]).status_code == 200
        assert (
            client.post(route, json=STATELESS[route], headers={"authorization": "Bearer x"}).status_code
            == 401
        )
    with serve(settings_for(database, mock)) as url, Client(url) as client:
        assert client.post(route, json=STATELESS[route]).status_code == 401
    assert len(database.rows("select 1 from usage_logs")) == 1
    for table in ("usage_logs", "turns", "rate_limits"):
        assert "127.0.0.1" not in str(database.rows(f"select * from {table}"))


def test_the_user_id_of_an_address_depends_on_the_secret(database, mock):
    """So the address cannot be found by hashing all addresses."""
    for secret in ("one secret, long enough for HS256", "another secret, long enough for it"):
        config = settings_for(database, mock, ALLOW_ANONYMOUS="true", JWT_SECRET=secret)
        with serve(config) as url, Client(url) as client:
            for _ in range(2):
                assert client.post("/stream-chat", json=STATELESS["/stream-chat"]).status_code == 200
    rows = database.rows("select count(*) as turns from usage_logs group by user_id")
    assert [row["turns"] for row in rows] == [2, 2]


def test_requests_without_a_token_are_limited_by_address(database, mock):
    config = settings_for(database, mock, ALLOW_ANONYMOUS="true", RATE_LIMIT_CHAT="2/60")
    with serve(config) as url, Client(url) as client:
        body = STATELESS["/stream-chat"]
        statuses = [
            client.post(
                "/stream-chat", json=body, headers={"x-forwarded-for": f"203.0.113.{number}"}
            ).status_code
            for number in range(3)
        ]
        with Client(url, USER) as known:
            assert known.post("/stream-chat", json=body).status_code == 200
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("route", ["/chat-stream", "/api/ui/chat"])
def test_stored_turns_need_a_token(database, mock, route):
    with serve(settings_for(database, mock, ALLOW_ANONYMOUS="true")) as url, Client(url) as client:
        assert client.post(route, json={"message": "Hi"}).status_code == 401


def test_a_json_answer_has_the_status_of_its_error(database, mock):
    body = {"messages": MESSAGES, "stream": False}
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        answer = client.post("/api/chat", json=body)
    assert (answer.status_code, answer.json()["content"]) == (200, answer_text("tokens=5"))
    assert answer.json()["messageId"] == answer.headers["x-message-id"]
    with (
        serve(settings_for(database, mock, "tokens=5,after=2,fault=truncate")) as url,
        Client(url, USER) as client,
    ):
        broken = client.post("/api/chat", json=body)
    assert (broken.status_code, broken.json()["code"]) == (502, "upstream_truncated")


def test_the_history_is_from_the_client_and_the_default_prompt_replaces_a_missing_one(database, mock):
    mock.reset()
    talk = [
        {"role": "system", "content": "Be a pirate."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    with serve(settings_for(database, mock)) as url, Client(url, USER) as client:
        client.post("/stream-chat", json={"messages": talk})
        client.post("/stream-chat", json={"messages": talk[1:]})
        client.post("/v1/chat/completions", json={"model": "mock:tokens=5", "messages": talk[1:]})
    pirate, coach, bare = (json.loads(each["body"])["messages"] for each in mock.stats()["requests"])
    assert pirate == talk
    assert (coach[1:], coach[0]["role"], "Coach" in coach[0]["content"]) == (talk[1:], "system", True)
    assert bare == talk[1:]


def test_a_best_effort_turn_continues_without_the_database(database, mock):
    """The database is not reachable when the turn starts. It is back for the cost at the end."""
    mock.reset()
    body = {
        "messages": [{"id": "a", "role": "user", "content": "Hi", "timestamp": 1}],
        "model": "mock:tokens=10,gap=200ms",
        "chatId": "a chat",
    }
    config = settings_for(database, mock, "tokens=10,gap=200ms")
    with serve(config) as url, Client(url, USER) as client:
        database.rows("alter role chat_app connection limit 0")
        # Closes the connection of the warm-up too.
        database.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chat_app'")
        reconnect = threading.Timer(3.5, database.rows, ["alter role chat_app connection limit -1"])
        reconnect.start()
        try:
            response = client.post("/api/stream", json=body)
        finally:
            reconnect.join()
    events = [json.loads(event.data) for event in httpx_sse.EventSource(response).iter_sse()]
    assert events[-1]["fullContent"] == answer_text("tokens=10")
    assert database.rows("select 1 from messages") == []
    [usage] = database.rows("select * from usage_logs")
    assert (usage["user_id"], usage["status"]) == (USER, "complete")


def test_a_best_effort_turn_with_a_budget_needs_the_database(database, mock):
    mock.reset()
    body = {
        "messages": [{"id": "a", "role": "user", "content": "Hi", "timestamp": 1}],
        "model": "mock:tokens=5",
        "chatId": "a chat",
    }
    broken = {"DATABASE_URL": "postgresql://chat_app@127.0.0.1:1/chat", "BUDGET_USD_PER_DAY": "5"}
    environ = mocked(database.url, mock, "openai/mock:tokens=5") | broken
    with serve(load_settings(environ)) as url, Client(url, USER) as client:
        assert client.post("/api/stream", json=body).status_code == 503
    assert mock.stats()["hits"] == 0


def test_a_conversation_of_the_ai_sdk_is_stored_resumed_and_regenerated(database, mock):
    body = {
        "id": "a chat's name",
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}],
        "trigger": "submit-message",
    }
    with serve(settings_for(database, mock, "tokens=40,gap=40ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/api/ui/chat", json=body) as first:
            events = httpx_sse.EventSource(first).iter_sse()
            start = json.loads(next(events).data)
            time.sleep(0.3)
            resumed = client.get(f"/api/ui/chat/{body['id']}/stream")
        assert resumed.status_code == 200
        assert json.loads(resumed.text.split("\n")[0][6:]) == start
        deltas = [json.loads(line[6:]) for line in resumed.text.split("\n") if '"text-delta"' in line]
        assert "".join(delta["delta"] for delta in deltas) == answer_text("tokens=40")
        assert client.get(f"/api/ui/chat/{body['id']}/stream").status_code == 204
        # The same message again is the same turn. A regeneration is another answer.
        assert client.post("/api/ui/chat", json=body).headers["x-message-id"] == start["messageId"]
        regenerated = client.post(
            "/api/ui/chat", json={**body, "trigger": "regenerate-message", "messageId": start["messageId"]}
        )
    assert regenerated.headers["x-message-id"] != start["messageId"]
    rows = database.rows("select id, role from messages order by created_at, id")
    assert [row["role"] for row in rows] == ["user", "assistant"]
    assert str(rows[1]["id"]) == regenerated.headers["x-message-id"]
    assert len(database.rows("select 1 from usage_logs")) == 2
