"""Answers are cancelled from any process and resumed at any character."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve

USER = uuid4()


def settings_for(database, mock, script, **environ):
    return load_settings(mocked(database.url, mock, f"openai/mock:{script}", **environ))


def cancel(url, answer_id, user=USER):
    """Cancels through the conversations function, which shares only the database with the turn."""
    with Client(url, user) as client:
        return client.post(f"/api/chat/messages/{answer_id}/cancel")


def answer(database):
    [row] = database.rows("select * from messages where role = 'assistant'")
    return row


def resume(client, answer_id, last=None):
    headers = {"last-event-id": str(last)} if last is not None else {}
    response = client.get(f"/api/chat/messages/{answer_id}/stream", headers=headers)
    assert response.status_code == 200, response.text
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]


def text_of(events):
    return "".join(event["content"] for event in events if event["type"] == "token")


@pytest.mark.wall_clock
def test_a_cancel_ends_the_answer_within_a_second_and_keeps_its_text(database, mock):
    mock.reset()
    with serve(settings_for(database, mock, "tokens=500,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            seen = [next(events).json()]
            cancelling = cancel(url, response.headers["x-message-id"])
            assert (cancelling.status_code, cancelling.json()["status"]) == (202, "cancelling")
            cancelled_at = time.monotonic()
            seen += [event.json() for event in events]
            took = time.monotonic() - cancelled_at
        assert took < 1.5
        assert (seen[-1]["type"], seen[-1]["finishReason"]) == ("done", "cancelled")
        stored = answer(database)
        assert (stored["status"], stored["content"]) == ("cancelled", text_of(seen))
        [usage] = database.rows("select * from usage_logs")
        assert (usage["status"], usage["estimated"]) == ("cancelled", True)
        assert 0 < usage["tokens_out"] < 300
        assert usage["cost_usd"] > 0
        # A second cancel only returns the status.
        again = cancel(url, stored["id"])
        assert (again.status_code, again.json()["status"]) == (200, "cancelled")
        while mock.stats()["open"]:
            time.sleep(0.02)
        assert mock.stats()["aborted"] == 1


def test_a_cancel_near_the_end_leaves_one_status_and_one_cost(database, mock):
    with serve(settings_for(database, mock, "tokens=30,gap=30ms")) as url:

        def race(delay):
            with (
                Client(url, USER) as client,
                client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
            ):
                answer_id = response.headers["x-message-id"]
                time.sleep(delay)
                cancel(url, answer_id)
                response.read()
                return answer_id, response.text.split("\n")[-3]

        with ThreadPoolExecutor(8) as pool:
            ends = dict(pool.map(race, [0.1 + 0.15 * step for step in range(8)]))
    rows = database.rows("select id, status from messages where role = 'assistant'")
    assert len(rows) == 8
    assert {row["status"] for row in rows} <= {"complete", "cancelled"}
    for row in rows:
        assert ("cancelled" in ends[str(row["id"])]) == (row["status"] == "cancelled")
        usage = database.rows("select status from usage_logs where message_id = %s", (row["id"],))
        assert [each["status"] for each in usage] == [row["status"]]


def test_another_user_cannot_cancel_an_answer(database, mock):
    with serve(settings_for(database, mock, "tokens=20,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]
            refused = cancel(url, answer_id, user=uuid4())
            response.read()
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assert answer(database)["status"] == "complete"


def cancel_conversation(client, conversation):
    return client.post(f"/api/chat/conversations/{conversation}/cancel")


@pytest.mark.wall_clock
def test_a_stop_before_the_first_token_names_the_conversation(database, mock):
    mock.reset()
    body = {"id": "my chat", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}
    with (
        serve(settings_for(database, mock, "tokens=5,first=20")) as url,
        Client(url, USER) as client,
        Client(url, uuid4()) as other,
        client.stream("POST", "/api/ui/chat", json=body) as response,
    ):
        conversation, answer_id = (response.headers[f"x-{name}-id"] for name in ("conversation", "message"))
        cancelling = [cancel_conversation(client, name) for name in ("my%20chat", conversation)]
        assert {each.status_code for each in cancelling} == {202}
        assert {each.text for each in cancelling} == {f'{{"id":"{answer_id}","status":"cancelling"}}'}
        assert cancel_conversation(other, "my%20chat").status_code == 404
        assert cancel_conversation(other, conversation).status_code == 404
        cancelled_at = time.monotonic()
        assert '"type":"abort"' in response.read().decode()
        assert time.monotonic() - cancelled_at < 1.5
        ended = cancel_conversation(client, "my%20chat")
        assert (ended.status_code, ended.json()) == (200, {"id": answer_id, "status": "cancelled"})
    assert answer(database)["status"] == "cancelled"


@pytest.mark.wall_clock
@pytest.mark.parametrize("script", ["tokens=5,headers=20", "tokens=5,first=20"])
def test_a_stop_before_the_model_answers_ends_the_request_to_it(database, mock, script):
    mock.reset()
    body = {"id": "chat", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}
    configured = settings_for(database, mock, script, LLM_START_TIMEOUT="15", LLM_FALLBACK_MODELS="ollama/a")
    with (
        serve(configured) as url,
        Client(url, USER) as client,
        Client(url, USER) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        answering = pool.submit(writer.post, "/api/ui/chat", json=body)
        while cancel_conversation(client, "chat").status_code != 202:
            time.sleep(0.02)
        cancelled_at = time.monotonic()
        assert '"type":"abort"' in answering.result().text
        assert time.monotonic() - cancelled_at < 1.5
        while mock.stats()["open"]:
            time.sleep(0.02)
    assert mock.stats()["hits_by_model"] == {f"mock:{script}": 1}
    assert mock.stats()["aborted"] == 1
    assert answer(database)["status"] == "cancelled"
    [usage] = database.rows("select * from usage_logs")
    assert (usage["status"], usage["estimated"], usage["tokens_out"]) == ("cancelled", True, 0)
    # The provider may charge for the prompt.
    assert usage["tokens_in"] > 0


def test_a_stop_of_a_conversation_without_a_running_answer_returns_the_newest_answer(database, mock):
    with serve(settings_for(database, mock, "tokens=2")) as url, Client(url, USER) as client:
        first = client.post("/chat-stream", json={"message": "Hi"})
        conversation = first.headers["x-conversation-id"]
        second = client.post("/chat-stream", json={"message": "Hi", "conversationId": conversation})
        stopped = cancel_conversation(client, conversation)
        assert (stopped.status_code, stopped.json()["status"]) == (200, "complete")
        assert stopped.json()["id"] == second.headers["x-message-id"]
        empty = client.post("/api/chat/conversations", json={}).json()["id"]
        unknown = [cancel_conversation(client, name) for name in (empty, uuid4(), "unknown", "%00")]
    assert {(each.status_code, each.json()["code"]) for each in unknown} == {(404, "not_found")}


@pytest.mark.wall_clock
def test_a_message_after_a_stop_waits_for_the_end_of_the_stopped_answer(database, mock):
    configured = settings_for(database, mock, "tokens=500,gap=20ms", RATE_LIMIT_CHAT="2/60")
    with serve(configured) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            question = {"message": "Stop.", "conversationId": response.headers["x-conversation-id"]}
            next(response.iter_bytes())
            refused = client.post("/chat-stream", json=question)
            assert (refused.status_code, refused.headers["retry-after"]) == (409, "1")
            # The refused request counts for the rate limit. The calls during the wait do not.
            database.rows("delete from rate_limits")
            cancel_conversation(client, response.headers["x-conversation-id"])
            with client.stream("POST", "/chat-stream", json=question) as second:
                assert second.status_code == 200
                assert second.headers["ratelimit"].split(";")[1] == "r=1"
                cancel_conversation(client, response.headers["x-conversation-id"])
    rows = database.rows("select role, status from messages order by created_at, id")
    assert [row["role"] for row in rows] == ["user", "assistant"] * 2
    assert rows[1]["status"] == "cancelled"


def test_a_finished_answer_can_be_resumed_at_every_character(database, mock):
    whole = answer_text("tokens=12")
    with serve(settings_for(database, mock, "tokens=12")) as url, Client(url, USER) as client:
        live = client.post("/chat-stream", json={"message": "Hi"})
        answer_id = live.headers["x-message-id"]
        for offset in range(len(whole) + 1):
            events = resume(client, answer_id, offset)
            assert text_of(events) == whole[offset:]
            assert json.dumps(events[-1], separators=(",", ":")) == live.text.split("\n")[-3][6:]
        assert text_of(resume(client, answer_id)) == whole


@pytest.mark.parametrize("script", ["tokens=50,gap=30ms", "odd,gap=30ms"])
def test_a_resumed_stream_repeats_and_misses_no_text(database, mock, script):
    with serve(settings_for(database, mock, script)) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]
            text, last = "", 0
            for event in httpx_sse.EventSource(response).iter_sse():
                text, last = text + event.json()["content"], int(event.id)
                if len(text) > 40:
                    break
        rest = resume(client, answer_id, last)
    assert rest[-1]["type"] == "done"
    assert text + text_of(rest) == answer(database)["content"]


def test_several_clients_can_read_one_answer(database, mock):
    with serve(settings_for(database, mock, "tokens=50,gap=30ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]

            with ThreadPoolExecutor(10) as pool:
                texts = {text_of(events) for events in pool.map(follow, [url] * 10, [answer_id] * 10)}
            response.read()
    assert texts == {answer_text("tokens=50")}


@pytest.mark.parametrize(
    ("last", "status"), [("x", 400), ("-1", 400), ("1e3", 400), ("99999", 400), ("9" * 40, 400)]
)
def test_a_last_event_id_outside_the_answer_is_400(database, mock, last, status):
    with serve(settings_for(database, mock, "tokens=5")) as url, Client(url, USER) as client:
        answer_id = client.post("/chat-stream", json={"message": "Hi"}).headers["x-message-id"]
        response = client.get(f"/api/chat/messages/{answer_id}/stream", headers={"last-event-id": last})
    assert (response.status_code, response.json()["field"]) == (status, "Last-Event-ID")


def test_unknown_foreign_and_invalid_message_ids_get_the_same_404(database, mock):
    with (
        serve(settings_for(database, mock, "tokens=5")) as url,
        Client(url, USER) as client,
        Client(url, uuid4()) as other,
    ):
        answer_id = client.post("/chat-stream", json={"message": "Hi"}).headers["x-message-id"]
        answers = [
            other.get(f"/api/chat/messages/{answer_id}/stream"),
            client.get(f"/api/chat/messages/{uuid4()}/stream"),
            client.get("/api/chat/messages/nonsense/stream"),
            client.get(f"/api/chat/messages/{question_id(database)}/stream"),
        ]
    assert {response.status_code for response in answers} == {404}
    assert len({response.text for response in answers}) == 1


def question_id(database):
    return database.rows("select id from messages where role = 'user'")[0]["id"]


def test_an_answer_with_an_expired_lease_is_interrupted_for_readers_and_for_the_next_turn(database, mock):
    started = database.begin_turn(USER)
    conversation, answer_id = started["conversation_id"], started["answer_id"]
    database.call("checkpoint_turn", user_id=USER, answer_id=answer_id, content="Once upon a", lease="-1 s")
    with serve(settings_for(database, mock, "tokens=2")) as url, Client(url, USER) as client:
        events = resume(client, answer_id, 5)
        question = {"message": "Are you there?", "conversationId": conversation}
        assert client.post("/chat-stream", json=question).status_code == 200
    assert text_of(events) == "upon a"
    assert events[-1]["type"] == "error"
    [row] = database.rows("select * from messages where id = %s", (answer_id,))
    assert (row["status"], row["content"], row["token_count"]) == ("interrupted", "Once upon a", 3)
    [usage] = database.rows("select * from usage_logs where message_id = %s", (answer_id,))
    assert (usage["status"], usage["estimated"]) == ("interrupted", True)
    assert (usage["tokens_in"], usage["tokens_out"]) == (103, 3)
    assert usage["cost_usd"] == Decimal("0.133")  # at 0.001 and 0.01 a token
    [budget] = database.rows("select * from budgets")
    [spent] = database.rows("select sum(cost_usd) as usd from usage_logs")
    assert (budget["reserved_usd"], budget["spent_usd"]) == (0, spent["usd"])


def test_the_sweep_interrupts_expired_answers(database, mock):
    with serve(settings_for(database, mock, "tokens=500,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            chunks = response.iter_bytes()
            next(chunks)
            database.rows("update turns set lease_expires_at = now() - interval '1 hour'")
            database.as_user(None, "select app.sweep_turns()")
            rest = b"".join(chunks).decode()
    assert answer(database)["status"] == "interrupted"
    assert '"type":"error"' in rest.split("\n")[-3]
    assert len(database.rows("select 1 from usage_logs")) == 1


def test_a_replay_that_loses_the_database_does_not_report_an_end(database, mock):
    with serve(settings_for(database, mock, "tokens=60,gap=50ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]
            with ThreadPoolExecutor(1) as pool:
                following = pool.submit(follow, url, answer_id)
                while not answer(database)["content"]:
                    time.sleep(0.02)
                database.rows("alter function app.read_answer(jsonb) rename to read_answer_away")
                cut = following.result()
                database.rows("alter function app.read_answer_away(jsonb) rename to read_answer")
            response.read()
        rest = resume(client, answer_id, len(text_of(cut)))
    assert {event["type"] for event in cut} <= {"token"}
    assert text_of(cut) + text_of(rest) == answer_text("tokens=60")
    assert rest[-1]["type"] == "done"


def follow(url, answer_id):
    with Client(url, USER) as client:
        return resume(client, answer_id)
