"""A turn reserves money before the model call. Its settlement or its expiry frees the reservation."""

import itertools
from concurrent.futures import ThreadPoolExecutor, as_completed
from decimal import Decimal
from uuid import uuid4

from shared.settings import load_settings
from tests.serving import Client, mocked, serve, serve_in_a_process

USER = uuid4()
# An answer cannot be made shorter than this.
SHORT = {"message": "Hi", "maxTokens": 256}


def environment(database, mock, script, budget):
    return mocked(database.url, mock, f"openai/mock:{script}", BUDGET_USD_PER_DAY=str(budget))


def settings_for(database, mock, script, budget):
    return load_settings(environment(database, mock, script, budget))


def reservation(database, mock):
    """The reservation of one running turn."""
    with (
        serve(settings_for(database, mock, "tokens=100,gap=20ms", 100)) as url,
        Client(url, uuid4()) as client,
    ):
        with client.stream("POST", "/chat-stream", json=SHORT):
            [row] = database.rows("select reserved_usd from budgets")
    return row["reserved_usd"]


def test_exactly_three_of_fifty_parallel_turns_run_with_a_budget_for_three(database, mock):
    amount = reservation(database, mock)
    mock.reset()
    budget = amount * Decimal("3.5")
    environ = environment(database, mock, "tokens=100,gap=300ms", budget.quantize(Decimal("1e-10")))
    with serve_in_a_process(environ) as one, serve_in_a_process(environ) as two:

        def post(number):
            with Client(one if number % 2 else two, USER) as client:
                return client.post("/chat-stream", json=SHORT)

        with ThreadPoolExecutor(25) as pool, Client(one, USER) as client:
            posts = [pool.submit(post, number) for number in range(50)]
            # The three turns run until all other requests are refused.
            refused = [done.result() for done in itertools.islice(as_completed(posts), 47)]
            for message in database.rows("select id from messages where status = 'streaming'"):
                client.post(f"/api/chat/messages/{message['id']}/cancel")
    assert {response.status_code for response in refused} == {429}
    assert mock.stats()["hits"] == 3
    assert {response.json()["code"] for response in refused} == {"budget_exceeded"}
    assert all(0 < int(response.headers["retry-after"]) <= 24 * 3600 for response in refused)
    [row] = database.rows("select * from budgets where user_id = %s", (USER,))
    [cost] = database.rows("select sum(cost_usd) as usd from usage_logs where user_id = %s", (USER,))
    assert (row["reserved_usd"], row["spent_usd"]) == (0, cost["usd"])
    assert row["spent_usd"] <= budget
    assert len(database.rows("select 1 from messages where user_id = %s", (USER,))) == 6


def test_a_turn_without_an_answer_costs_nothing_and_frees_its_reservation(database, mock):
    with serve(settings_for(database, mock, "401", 100)) as url, Client(url, USER) as client:
        assert client.post("/chat-stream", json={"message": "Hi"}).status_code == 502
    [row] = database.rows("select * from budgets")
    assert (row["reserved_usd"], row["spent_usd"]) == (0, 0)


def test_a_new_budget_counts_earlier_costs_of_the_day(database, mock):
    with serve(settings_for(database, mock, "tokens=50", 0)) as url, Client(url, USER) as client:
        client.post("/chat-stream", json={"message": "Hi"})
    assert database.rows("select * from budgets") == []
    [spent] = database.rows("select cost_usd from usage_logs")
    with (
        serve(settings_for(database, mock, "tokens=50", spent["cost_usd"])) as url,
        Client(url, USER) as client,
    ):
        response = client.post("/chat-stream", json={"message": "Hi"})
    assert (response.status_code, response.json()["code"]) == (429, "budget_exceeded")


def test_a_refused_turn_stores_nothing(database, mock):
    mock.reset()
    with serve(settings_for(database, mock, "tokens=5", "0.0000001")) as url, Client(url, USER) as client:
        assert client.post("/chat-stream", json={"message": "Hi"}).status_code == 429
    for table in ("conversations", "messages", "turns", "usage_logs"):
        assert database.rows(f"select 1 from {table}") == []
    assert mock.stats()["hits"] == 0


def test_a_turn_refused_by_the_rate_limit_stores_nothing(database, mock):
    mock.reset()
    environ = mocked(database.url, mock, "openai/mock:tokens=1", RATE_LIMIT_CHAT="3/60")
    with serve(load_settings(environ)) as url, Client(url, USER) as client:
        responses = [client.post("/chat-stream", json={"message": "Hi"}) for _ in range(5)]
        with Client(url, uuid4()) as other:
            assert other.post("/chat-stream", json={"message": "Hi"}).status_code == 200
    assert [response.status_code for response in responses] == [200, 200, 200, 429, 429]
    assert [r.headers["ratelimit"].split(";")[1] for r in responses] == ["r=2", "r=1", "r=0", "r=0", "r=0"]
    assert responses[0].headers["ratelimit-policy"] == '"chat";q=3;w=60'
    refused = responses[-1]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["userMessage"] == "Let's take a breath. You can continue in a moment."
    assert len(database.rows("select 1 from messages where user_id = %s", (USER,))) == 6
    assert mock.stats()["hits"] == 4


def test_an_expired_turn_frees_its_reservation(database, mock):
    started = database.begin_turn(USER, lease="-1 second")
    [before] = database.rows("select * from budgets")
    database.call("begin_request", user_id=USER)
    [after] = database.rows("select * from budgets")
    assert before["reserved_usd"] > 0
    assert after["reserved_usd"] == 0
    [usage] = database.rows("select * from usage_logs where message_id = %s", (started["answer_id"],))
    assert after["spent_usd"] == usage["cost_usd"] > 0
