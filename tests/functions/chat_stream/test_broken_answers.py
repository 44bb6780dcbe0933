"""Answers that break off: the client gets an error, and the text and the cost are stored."""

import time
from uuid import uuid4

import httpx_sse
import psycopg
import pytest

from dev.mock_llm import answer_text, partial_text
from shared.settings import load_settings
from tests.serving import ChatOnLambda, Client, mocked, serve

USER = uuid4()
FAULTS = ["error", "truncate", "cut", "reset", "bad-json"]


def settings_for(database, mock, script, provider="openai", **environ):
    return load_settings(mocked(database.url, mock, f"{provider}/mock:{script}", **environ))


def ask(config):
    with (
        serve(config) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        assert response.status_code == 200
        return [event.json() for event in httpx_sse.EventSource(response).iter_sse()]


def answer(database):
    [row] = database.rows("select * from messages where role = 'assistant'")
    return row


def text_of(events):
    return "".join(event["content"] for event in events if event["type"] == "token")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_breaks_off_ends_with_an_error_and_its_text_and_cost_are_stored(
    database, mock, provider, fault
):
    events = ask(settings_for(database, mock, f"tokens=10,after=4,gap=1ms,fault={fault}", provider))
    assert events[-1] == {
        "type": "error",
        "message": "Coach is taking a moment. Let's try again.",
        "code": answer(database)["metadata"]["code"],
    }
    assert [event["type"] for event in events[:-1]] == ["token"] * 4
    assert text_of(events) == partial_text(f"tokens=10,after=4,fault={fault}")
    stored = answer(database)
    assert (stored["status"], stored["content"]) == ("error", text_of(events))
    assert stored["metadata"]["code"].startswith("upstream_")
    [usage] = database.rows("select * from usage_logs")
    assert (usage["status"], usage["estimated"]) == ("error", True)
    assert usage["tokens_in"] > 0
    assert 0 < usage["tokens_out"] < 40
    wait_until(lambda: mock.stats()["open"] == 0)


def test_a_missing_first_token_is_a_timeout(database, mock):
    events = ask(
        settings_for(database, mock, "no-body", LLM_START_TIMEOUT="1", LLM_FIRST_TOKEN_TIMEOUT="1.2")
    )
    assert [event["type"] for event in events] == ["error"]
    assert answer(database)["metadata"]["code"] == "upstream_timeout"


@pytest.mark.wall_clock
@pytest.mark.parametrize("fault", ["hang", "pings"])
def test_silence_between_tokens_is_a_timeout_also_with_pings(database, mock, fault):
    started_at = time.monotonic()
    events = ask(settings_for(database, mock, f"tokens=10,after=3,fault={fault}", LLM_IDLE_TIMEOUT="0.4"))
    assert time.monotonic() - started_at < 5
    assert [event["type"] for event in events] == ["token"] * 3 + ["error"]
    assert answer(database)["status"] == "error"


def test_each_token_restarts_the_idle_timeout(database, mock):
    events = ask(settings_for(database, mock, "tokens=12,gap=100ms", LLM_IDLE_TIMEOUT="0.5"))
    assert events[-1]["type"] == "done"
    assert text_of(events) == answer_text("tokens=12")


def test_reasoning_restarts_the_idle_timeout(database, mock):
    script = "tokens=2,thinking=12,gap=100ms"
    events = ask(settings_for(database, mock, script, "nvidia", LLM_IDLE_TIMEOUT="0.5"))
    assert (events[-1]["type"], text_of(events)) == ("done", answer_text("tokens=2"))


def test_the_usage_of_an_answer_without_usage_is_estimated(database, mock):
    ask(settings_for(database, mock, "tokens=10,usage=none"))
    [usage] = database.rows("select * from usage_logs")
    assert (usage["status"], usage["estimated"]) == ("complete", True)
    assert usage["tokens_out"] == -(-len(answer_text("tokens=10")) // 4)
    assert usage["cost_usd"] > 0


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_usage_of_0_tokens_is_estimated(database, mock, provider):
    ask(settings_for(database, mock, "tokens=10,usage=zero", provider))
    [usage] = database.rows("select * from usage_logs")
    assert (usage["status"], usage["estimated"]) == ("complete", True)
    assert usage["tokens_in"] > 0
    assert usage["tokens_out"] == -(-len(answer_text("tokens=10").encode()) // 4)


@pytest.mark.parametrize("provider", ["nvidia", "anthropic", "ollama"])
@pytest.mark.parametrize("script", ["tokens=0,thinking=4", "tokens=0,thinking=4,tags,finish=length"])
def test_an_answer_that_only_thinks_is_an_error_with_its_cost(database, mock, provider, script):
    events = ask(settings_for(database, mock, script, provider))
    assert [event["type"] for event in events] == ["error"]
    assert answer(database)["metadata"]["code"] == "empty_answer"
    [usage] = database.rows("select * from usage_logs")
    assert (usage["status"], usage["tokens_out"]) == ("error", 4)


def test_characters_that_postgres_cannot_store_are_replaced(database, mock):
    events = ask(settings_for(database, mock, "odd"))
    assert events[-1]["type"] == "done"
    assert answer(database)["content"] == text_of(events)
    assert "\ufffd" in text_of(events)
    assert "\0" not in text_of(events)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_the_model_cuts_short_has_its_finish_reason(database, mock, finish):
    events = ask(settings_for(database, mock, f"tokens=3,finish={finish}"))
    assert (events[-1]["type"], events[-1]["finishReason"]) == ("done", finish)
    assert answer(database)["status"] == "complete"


def test_an_answer_is_completed_after_its_client_disconnects(database, mock):
    with serve(settings_for(database, mock, "tokens=20,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            next(response.iter_bytes())
        wait_until(lambda: answer(database)["status"] != "streaming")
    assert (answer(database)["status"], answer(database)["content"]) == ("complete", answer_text("tokens=20"))


def test_a_server_that_stops_stores_the_text_so_far(database, mock):
    with (
        serve(settings_for(database, mock, "tokens=200,gap=50ms")) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        next(response.iter_bytes())
    stored = answer(database)
    assert stored["status"] == "interrupted"
    assert stored["content"]
    assert answer_text("tokens=200").startswith(stored["content"])


def test_an_answer_that_cannot_be_saved_ends_with_an_error(server, database, mock):
    """The database is not reachable from the middle of the answer until the function's time is over."""
    environ = mocked(database.url, mock, "openai/mock:tokens=20,gap=20ms")
    with (
        ChatOnLambda(environ, timeout=9).running() as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        events = httpx_sse.EventSource(response).iter_sse()
        next(events)
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute(f"alter database {database.name} allow_connections false")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database.name,)
            )
            rest = [event.json() for event in events]
            connection.execute(f"alter database {database.name} allow_connections true")
    assert rest[-1]["type"] == "error"
    assert answer(database)["status"] == "streaming"


def test_a_second_turn_during_a_running_turn_is_409(database, mock):
    with serve(settings_for(database, mock, "tokens=20,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "one"}) as first:
            question = {"message": "two", "conversationId": first.headers["x-conversation-id"]}
            refused = client.post("/chat-stream", json=question)
            first.read()
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert client.post("/chat-stream", json=question).status_code == 200
    contents = [
        row["content"] for row in database.rows("select content from messages order by created_at, id")
    ]
    assert contents == ["one", answer_text("tokens=20"), "two", answer_text("tokens=20")]


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_answer_ends_at_the_maximum_length_and_is_stored(database, mock):
    # The mock needs seconds to generate this text.
    events = ask(settings_for(database, mock, "tokens=400000,coalesce=2000", LLM_START_TIMEOUT="30"))
    assert (events[-1]["type"], events[-1]["finishReason"]) == ("done", "length")
    stored = answer(database)
    assert stored["status"] == "complete"
    assert len(stored["content"]) == 1_000_000
    assert stored["content"] == text_of(events)
    assert len(database.rows("select 1 from usage_logs")) == 1


def test_checkpoints_continue_after_a_failed_checkpoint(database, mock):
    with (
        serve(settings_for(database, mock, "tokens=120,gap=50ms")) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        chunks = response.iter_bytes()
        next(chunks)
        database.rows("alter function app.checkpoint_turn(jsonb) rename to renamed_checkpoint")
        time.sleep(1.2)
        database.rows("alter function app.renamed_checkpoint(jsonb) rename to checkpoint_turn")
        wait_until(lambda: answer(database)["content"])
        assert list(chunks)
    assert answer(database)["status"] == "complete"
