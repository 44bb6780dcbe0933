"""Killed processes, database crashes and lost replies: the promises of docs/reliability.md."""

import json
import logging
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import httpx_sse
import psycopg
import pytest

from dev import postgres
from dev.mock_llm import answer_text
from migrations import migrate
from shared.settings import load_settings
from tests.database import TestDatabase, cluster_folder
from tests.postgres_proxy import PostgresProxy
from tests.serving import ChatOnLambda, Client, mocked, serve

USER = uuid4()
KEY = {"idempotency-key": "a-key-of-the-client"}


def environment(database, mock, script, **environ):
    return mocked(database.url, mock, f"openai/mock:{script}", BUDGET_USD_PER_DAY="100", **environ)


def events_of(response):
    return [event.json() for event in httpx_sse.EventSource(response).iter_sse()]


def text_of(events):
    return "".join(event["content"] for event in events if event["type"] == "token")


def check_accounts(database):
    """Checks that every turn is settled, its cost is stored once, and no money is reserved."""
    assert database.rows("select 1 from turns where status = 'running'") == []
    assert database.rows("select 1 from messages where status = 'streaming'") == []
    doubles = database.rows("select message_id from usage_logs group by message_id having count(*) > 1")
    assert doubles == []
    budgets = database.rows(
        "select b.*, (select sum(cost_usd) from usage_logs as u where u.user_id = b.user_id) as cost"
        " from budgets as b"
    )
    assert budgets
    for row in budgets:
        assert row["reserved_usd"] == 0
        assert row["spent_usd"] == (row["cost"] or 0)


def test_fifty_turns_killed_at_random_times_lose_at_most_their_last_second(database, mock):
    whole = answer_text("tokens=60")
    seed = random.randrange(10**9)
    generator = random.Random(seed)
    times = [generator.uniform(0, 1.5) for _ in range(50)]
    environ = environment(database, mock, "tokens=60,gap=20ms")

    def turns(share):
        function = ChatOnLambda(environ)
        seen = []
        with function.running() as url:
            for kill_after in share:
                user = uuid4()
                question = {"message": f"I am {user}"}
                killer = threading.Timer(kill_after, function.signal, [signal.SIGKILL])
                text, event = "", None
                with Client(url, user) as client:
                    client.get("/health")  # waits until a process runs
                    killer.start()
                    try:
                        with client.stream("POST", "/chat-stream", json=question) as response:
                            for sent in httpx_sse.EventSource(response).iter_sse():
                                event = sent.json()
                                text += event.get("content", "")
                    except (httpx.HTTPError, httpx_sse.SSEError):
                        pass
                killer.join()
                seen.append((user, text, event and event["type"] == "done"))
        return seen

    with ThreadPoolExecutor(5) as pool:
        seen = [turn for share in pool.map(turns, [times[i::5] for i in range(5)]) for turn in share]

    database.rows("update turns set lease_expires_at = now() - interval '1 second' where status = 'running'")
    interrupted = 0
    logging.getLogger(__name__).info("seed %d", seed)  # pytest shows the seed of a failed test
    for user, text, done in seen:
        database.call("begin_request", user_id=user)
        messages = database.rows("select * from messages where user_id = %s order by created_at, id", (user,))
        if not messages:
            assert text == ""  # killed before the question was stored
            continue
        question, answer = messages
        assert question["content"] == f"I am {user}"
        assert whole.startswith(answer["content"])
        if done:
            assert (answer["status"], answer["content"]) == ("complete", whole)
        # The mock sends 50 tokens in a second, and a token has at most ten characters.
        assert len(text) - len(answer["content"]) <= 60 * 10
        assert answer["status"] in {"complete", "interrupted"}
        usage = database.rows("select * from usage_logs where message_id = %s", (answer["id"],))
        assert [row["status"] for row in usage] == [answer["status"]]
        assert usage[0]["cost_usd"] > 0
        interrupted += answer["status"] == "interrupted"
    assert interrupted > 10
    check_accounts(database)


def test_the_answer_is_committed_before_the_last_event(database, mock):
    function = ChatOnLambda(environment(database, mock, "tokens=5,gap=10ms"))
    with function.running() as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            for event in httpx_sse.EventSource(response).iter_sse():
                if event.json()["type"] == "done":
                    function.signal(signal.SIGSTOP)
                    break
        [answer] = database.rows("select * from messages where role = 'assistant'")
        assert (answer["status"], answer["content"]) == ("complete", answer_text("tokens=5"))
        check_accounts(database)
        function.signal(signal.SIGKILL)


def test_a_turn_works_after_all_idle_connections_were_closed(server, database, mock):
    function = ChatOnLambda(environment(database, mock, "tokens=3"))
    with function.running() as url, Client(url, USER) as client:
        for _ in range(3):
            assert events_of(client.post("/chat-stream", json={"message": "Hi"}))[-1]["type"] == "done"
            with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                    (database.name,),
                )
    check_accounts(database)


def test_the_deadline_of_the_function_ends_an_answer_that_can_be_resumed(database, mock):
    function = ChatOnLambda(environment(database, mock, "tokens=500,gap=20ms"), timeout=9)
    with function.running() as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            answer_id = response.headers["x-message-id"]
            events = events_of(response)
        again = client.get(f"/api/chat/messages/{answer_id}/stream", headers={"last-event-id": "7"})
    assert (events[-1]["type"], events[-1]["finishReason"]) == ("done", "deadline")
    [answer] = database.rows("select * from messages where role = 'assistant'")
    assert (answer["status"], answer["content"]) == ("interrupted", text_of(events))
    assert answer_text("tokens=500").startswith(answer["content"])
    assert text_of(events_of(again)) == answer["content"][7:]
    check_accounts(database)


@pytest.fixture
def crashable_postgres():
    """A Postgres only for one test, which may crash it."""
    with cluster_folder() as folder:
        running = postgres.start(folder)
        migrate.apply(running.url(postgres.OWNER))
        yield running
        running.stop()


def test_an_answer_is_complete_after_a_crash_of_the_database(crashable_postgres, mock):
    database = TestDatabase(crashable_postgres, postgres.DATABASE)
    config = load_settings(environment(database, mock, "tokens=100,gap=30ms"))
    with serve(config) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}, headers=KEY) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            seen = [next(events).json() for _ in range(30)]
            crashable_postgres.crash_and_restart()
            seen += [event.json() for event in events]
        again = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert seen[-1]["type"] == "done"
    assert text_of(seen) == text_of(events_of(again)) == answer_text("tokens=100")
    rows = database.rows("select content, status from messages order by created_at, id")
    assert [tuple(row.values()) for row in rows] == [
        ("Hi", "complete"),
        (answer_text("tokens=100"), "complete"),
    ]
    check_accounts(database)


@pytest.mark.parametrize("statement", ["begin_turn", "finish_turn"])
def test_a_lost_reply_to_a_commit_stores_no_second_message_and_no_second_cost(
    server, database, mock, statement
):
    mock.reset()
    with PostgresProxy(server.socket_folder, lose_reply_to=statement) as proxy:
        config = load_settings(
            environment(database, mock, "tokens=5") | {"DATABASE_URL": proxy.url(database.url)}
        )
        with serve(config) as url, Client(url, USER) as client:
            events = events_of(client.post("/chat-stream", json={"message": "Hi"}))
        assert proxy.lost == 1
    assert events[-1]["type"] == "done"
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    assert len(database.rows("select 1 from usage_logs")) == 1
    assert len(database.rows("select 1 from conversations")) == 1
    check_accounts(database)


@pytest.mark.wall_clock
def test_thirty_stalled_streams_share_ten_connections_and_keep_no_transaction_open(server, database, mock):
    mock.reset()
    environ = {"LLM_IDLE_TIMEOUT": "4", "DATABASE_CONNECTIONS": "10"}
    config = load_settings(environment(database, mock, "tokens=5,after=2,fault=hang", **environ))
    with serve(config) as url, ThreadPoolExecutor(30) as pool:

        def ask(_):
            with Client(url, uuid4()) as client:
                return events_of(client.post("/chat-stream", json={"message": "Hi"}))

        answers = [pool.submit(ask, number) for number in range(30)]
        while mock.stats()["open"] < 30:
            time.sleep(0.05)
        most, open_transactions = 0, 0
        for _ in range(20):
            time.sleep(0.05)
            with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                query = "select state from pg_stat_activity where datname = %s and usename = 'chat_app'"
                states = [state for (state,) in connection.execute(query, (database.name,))]
            most = max(most, len(states))
            open_transactions += states.count("idle in transaction")
        with Client(url, USER) as client:
            started_at = time.monotonic()
            created = client.post("/api/chat/conversations", json={})
            assert (created.status_code, time.monotonic() - started_at < 2) == (201, True)
        ends = {answer.result()[-1]["type"] for answer in answers}
    assert ends == {"error"}
    # At most ten for each of the two functions.
    assert 0 < most <= 20
    assert open_transactions == 0
    check_accounts(database)


def test_a_silent_stream_has_heartbeats_and_the_configured_padding(database, mock):
    environ = {"LLM_START_TIMEOUT": "1", "STREAM_HEARTBEAT": "0.3", "STREAM_PADDING": "2048"}
    config = load_settings(environment(database, mock, "tokens=2,first=3s", **environ))
    with serve(config) as url, Client(url, USER) as client:
        body = client.post("/chat-stream", json={"message": "Hi"}).content
    head = body.split(b"\n\n")[0]
    assert (head[:1], len(head) + 2) == (b":", 2048)
    assert body.count(b": ping\n\n") >= 2
    assert body.split(b"\n\n")[-2].startswith(b'id: 11.end\ndata: {"type":"done"')


def test_the_text_of_a_model_cannot_forge_an_event(database, mock):
    forged = 'a%0A%0Adata%3A {"type"%3A"done"}%0A%0A%0Did%3A 7%0Db\u2028c'
    with (
        serve(load_settings(environment(database, mock, f"text={forged}"))) as url,
        Client(url, USER) as client,
    ):
        response = client.post("/chat-stream", json={"message": "Hi"})
    events = events_of(response)
    assert [event["type"] for event in events] == ["token"] * (len(events) - 1) + ["done"]
    [answer] = database.rows("select content from messages where role = 'assistant'")
    assert answer["content"] == text_of(events) == 'a\n\ndata: {"type":"done"}\n\n\rid: 7\rb\u2028c'
    for block in response.text.split("\n\n")[:-1]:
        assert json.loads(block.rsplit("data: ", 1)[1])


def test_sigterm_saves_the_running_answer(database, mock):
    function = ChatOnLambda(environment(database, mock, "tokens=500,gap=20ms"))
    with function.running() as url, Client(url, USER) as client:
        try:
            with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
                for number, _ in enumerate(httpx_sse.EventSource(response).iter_sse()):
                    if number == 10:
                        function.signal(signal.SIGTERM)
        except httpx.HTTPError:
            pass
        [answer] = database.rows("select * from messages where role = 'assistant'")
    assert answer["status"] == "interrupted"
    assert len(answer["content"].split()) >= 10
    check_accounts(database)


def test_a_turn_whose_begin_is_unconfirmed_is_cancelled_and_runs_again(server, database, mock):
    """All replies to begin_turn are lost: the turn has started, but the client gets 503."""
    mock.reset()
    with PostgresProxy(server.socket_folder, lose_reply_to="begin_turn", times=3) as proxy:
        config = load_settings(
            environment(database, mock, "tokens=5") | {"DATABASE_URL": proxy.url(database.url)}
        )
        with serve(config) as url, Client(url, USER) as client:
            refused = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            while database.rows("select 1 from turns where status = 'running'"):
                time.sleep(0.02)
            again = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert events_of(again)[-1]["type"] == "done"
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    check_accounts(database)
