"""What must survive a killed function, a crashed database and a lost reply: see docs/reliability.md."""

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


def asking(database, mock, script, **environ):
    return mocked(database.url, mock, f"openai/mock:{script}", BUDGET_USD_PER_DAY="100", **environ)


def events_of(response):
    return [event.json() for event in httpx_sse.EventSource(response).iter_sse()]


def text_of(events):
    return "".join(event["content"] for event in events if event["type"] == "token")


def check_books(database):
    """Every turn settled once, its cost written down once, nothing held back."""
    assert database.rows("select 1 from turns where status = 'running'") == []
    assert database.rows("select 1 from messages where status = 'streaming'") == []
    doubles = database.rows("select message_id from usage_logs group by message_id having count(*) > 1")
    assert doubles == []
    for row in database.rows(
        "select b.*, (select sum(cost_usd) from usage_logs as u where u.user_id = b.user_id) as cost"
        " from budgets as b"
    ):
        assert row["reserved_usd"] == 0
        assert row["spent_usd"] == (row["cost"] or 0)


def test_fifty_turns_killed_at_random_moments_lose_nothing_but_their_last_second(database, mock):
    whole = answer_text("tokens=60")
    seed = random.randrange(10**9)
    dice = random.Random(seed)
    moments = [dice.uniform(0, 1.5) for _ in range(50)]
    environ = asking(database, mock, "tokens=60,gap=20ms")

    def turns(share):
        function = ChatOnLambda(environ)
        seen = []
        with function.running() as url:
            for moment in share:
                user = uuid4()
                said = {"message": f"I am {user}"}
                killer = threading.Timer(moment, function.signal, [signal.SIGKILL])
                text, told = "", None
                with Client(url, user) as client:
                    client.get("/health")  # a process is up
                    killer.start()
                    try:
                        with client.stream("POST", "/chat-stream", json=said) as response:
                            for event in httpx_sse.EventSource(response).iter_sse():
                                told = event.json()
                                text += told.get("content", "")
                    except (httpx.HTTPError, httpx_sse.SSEError):
                        pass
                killer.join()
                seen.append((user, text, told and told["type"] == "done"))
        return seen

    with ThreadPoolExecutor(5) as pool:
        seen = [turn for share in pool.map(turns, [moments[i::5] for i in range(5)]) for turn in share]

    database.rows("update turns set lease_expires_at = now() - interval '1 second' where status = 'running'")
    interrupted = 0
    logging.getLogger(__name__).info("seed %d", seed)  # shown if it fails
    for user, text, done in seen:
        database.call("begin_request", user_id=user)
        messages = database.rows("select * from messages where user_id = %s order by created_at, id", (user,))
        if not messages:
            assert text == ""  # killed before it was accepted
            continue
        question, answer = messages
        assert question["content"] == f"I am {user}"
        assert whole.startswith(answer["content"])
        if done:
            assert (answer["status"], answer["content"]) == ("complete", whole)
        # Fifty tokens come in a second; no word of the answer has more than ten characters.
        assert len(text) - len(answer["content"]) <= 60 * 10
        assert answer["status"] in {"complete", "interrupted"}
        usage = database.rows("select * from usage_logs where message_id = %s", (answer["id"],))
        assert [row["status"] for row in usage] == [answer["status"]]
        assert usage[0]["cost_usd"] > 0
        interrupted += answer["status"] == "interrupted"
    assert interrupted > 10
    check_books(database)


def test_a_function_stopped_for_ever_at_its_last_event_has_committed_it(database, mock):
    function = ChatOnLambda(asking(database, mock, "tokens=5,gap=10ms"))
    with function.running() as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            for event in httpx_sse.EventSource(response).iter_sse():
                if event.json()["type"] == "done":
                    function.signal(signal.SIGSTOP)
                    break
        [answer] = database.rows("select * from messages where role = 'assistant'")
        assert (answer["status"], answer["content"]) == ("complete", answer_text("tokens=5"))
        check_books(database)
        function.signal(signal.SIGKILL)


def test_a_frozen_function_whose_connections_died_meanwhile_serves_the_next_turn(server, database, mock):
    function = ChatOnLambda(asking(database, mock, "tokens=3"))
    with function.running() as url, Client(url, USER) as client:
        for _ in range(3):
            assert events_of(client.post("/chat-stream", json={"message": "Hi"}))[-1]["type"] == "done"
            with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                    (database.name,),
                )
    check_books(database)


def test_the_functions_own_deadline_ends_the_answer_in_time_and_resumable(database, mock):
    function = ChatOnLambda(asking(database, mock, "tokens=500,gap=20ms"), timeout=9)
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
    check_books(database)


@pytest.fixture
def own_postgres():
    """A server that a test may crash."""
    with cluster_folder() as folder:
        running = postgres.start(folder)
        migrate.apply(running.url(postgres.OWNER))
        yield running
        running.stop()


def test_a_database_that_crashes_in_mid_answer_and_comes_back_has_all_of_it(own_postgres, mock):
    database = TestDatabase(own_postgres, postgres.DATABASE)
    configured = load_settings(asking(database, mock, "tokens=100,gap=30ms"))
    with serve(configured) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}, headers=KEY) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            seen = [next(events).json() for _ in range(30)]
            own_postgres.crash_and_restart()
            seen += [event.json() for event in events]
        again = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert seen[-1]["type"] == "done"
    assert text_of(seen) == text_of(events_of(again)) == answer_text("tokens=100")
    rows = database.rows("select content, status from messages order by created_at, id")
    assert [tuple(row.values()) for row in rows] == [
        ("Hi", "complete"),
        (answer_text("tokens=100"), "complete"),
    ]
    check_books(database)


@pytest.mark.parametrize("statement", ["begin_turn", "finish_turn"])
def test_a_lost_reply_to_a_commit_makes_no_second_message_and_no_second_cost(
    server, database, mock, statement
):
    mock.reset()
    with PostgresProxy(server.socket_folder, lose_reply_to=statement) as proxy:
        configured = load_settings(
            asking(database, mock, "tokens=5") | {"DATABASE_URL": proxy.url(database.url)}
        )
        with serve(configured) as url, Client(url, USER) as client:
            events = events_of(client.post("/chat-stream", json={"message": "Hi"}))
        assert proxy.lost == 1
    assert events[-1]["type"] == "done"
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    assert len(database.rows("select 1 from usage_logs")) == 1
    assert len(database.rows("select 1 from conversations")) == 1
    check_books(database)


@pytest.mark.wall_clock
def test_thirty_stalled_streams_share_ten_connections_and_hold_no_transaction(server, database, mock):
    mock.reset()
    environ = {"LLM_IDLE_TIMEOUT": "4", "DATABASE_CONNECTIONS": "10"}
    configured = load_settings(asking(database, mock, "tokens=5,after=2,fault=hang", **environ))
    with serve(configured) as url, ThreadPoolExecutor(30) as pool:

        def ask(_):
            with Client(url, uuid4()) as client:
                return events_of(client.post("/chat-stream", json={"message": "Hi"}))

        answers = [pool.submit(ask, number) for number in range(30)]
        while mock.stats()["open"] < 30:
            time.sleep(0.05)
        most, held = 0, 0
        for _ in range(20):
            time.sleep(0.05)
            with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                query = "select state from pg_stat_activity where datname = %s and usename = 'chat_app'"
                states = [state for (state,) in connection.execute(query, (database.name,))]
            most, held = max(most, len(states)), held + states.count("idle in transaction")
        with Client(url, USER) as client:
            began = time.monotonic()
            made = client.post("/api/chat/conversations", json={})
            assert (made.status_code, time.monotonic() - began < 2) == (201, True)
        ends = {answer.result()[-1]["type"] for answer in answers}
    assert ends == {"error"}
    # Ten for each function, and never more.
    assert 0 < most <= 20
    assert held == 0
    check_books(database)


def test_a_quiet_stream_has_a_heartbeat_and_padding_where_it_is_wanted(database, mock):
    environ = {"LLM_START_TIMEOUT": "1", "STREAM_HEARTBEAT": "0.3", "STREAM_PADDING": "2048"}
    configured = load_settings(asking(database, mock, "tokens=2,first=3s", **environ))
    with serve(configured) as url, Client(url, USER) as client:
        body = client.post("/chat-stream", json={"message": "Hi"}).content
    head = body.split(b"\n\n")[0]
    assert (head[:1], len(head) + 2) == (b":", 2048)
    assert body.count(b": ping\n\n") >= 2
    assert body.split(b"\n\n")[-2].startswith(b'data: {"type":"done"')


def test_no_text_of_a_model_can_forge_an_event(database, mock):
    forged = 'a%0A%0Adata%3A {"type"%3A"done"}%0A%0A%0Did%3A 7%0Db\u2028c'
    with serve(load_settings(asking(database, mock, f"text={forged}"))) as url, Client(url, USER) as client:
        response = client.post("/chat-stream", json={"message": "Hi"})
    events = events_of(response)
    assert [event["type"] for event in events] == ["token"] * (len(events) - 1) + ["done"]
    [answer] = database.rows("select content from messages where role = 'assistant'")
    assert answer["content"] == text_of(events) == 'a\n\ndata: {"type":"done"}\n\n\rid: 7\rb\u2028c'
    for block in response.text.split("\n\n")[:-1]:
        assert json.loads(block.rsplit("data: ", 1)[1])


def test_a_function_that_is_told_to_end_saves_what_it_has(database, mock):
    function = ChatOnLambda(asking(database, mock, "tokens=500,gap=20ms"))
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
    check_books(database)


def test_a_turn_of_which_nobody_knows_whether_it_began_is_given_up(server, database, mock):
    """The reply to its begin is lost so often that the client has its 503; the turn did begin."""
    mock.reset()
    with PostgresProxy(server.socket_folder, lose_reply_to="begin_turn", times=3) as proxy:
        configured = load_settings(
            asking(database, mock, "tokens=5") | {"DATABASE_URL": proxy.url(database.url)}
        )
        with serve(configured) as url, Client(url, USER) as client:
            refused = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            while database.rows("select 1 from turns where status = 'running'"):
                time.sleep(0.02)
            again = client.post("/chat-stream", json={"message": "Hi"}, headers=KEY)
    assert events_of(again)[-1]["type"] == "done"
    assert mock.stats()["hits"] == 1
    assert len(database.rows("select 1 from messages")) == 2
    check_books(database)
