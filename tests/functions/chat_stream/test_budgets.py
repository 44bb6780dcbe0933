"""A turn reserves money before the model call. Its settlement or its expiry frees the reservation."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from decimal import Decimal
from uuid import uuid4

import pytest

from dev.mock_llm import answer_text
from shared import auth
from shared.settings import load_settings
from tests.serving import SECRET, Client, mocked, serve, serve_in_a_process

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


# Its price: 2 USD for a million tokens of the prompt, 8 USD for a million of the answer.
PRICED = "openai/gpt-4.1"


def priced(database, mock, script, budget, **environ):
    model = f"{PRICED}:{script}"
    return load_settings(mocked(database.url, mock, model, BUDGET_USD_PER_DAY=str(budget), **environ))


def last_event(response):
    return json.loads(response.text.strip().split("data: ")[-1])


def test_an_answer_that_the_budget_bounds_says_so_and_its_replay_too(database, mock):
    mock.reset()
    body = {"message": "Hi", "maxTokens": 5000}
    # 0.0128 USD buy 1,600 tokens; the prompt of the project takes a part of it.
    with serve(priced(database, mock, "tokens=3000", "0.0128")) as url, Client(url, USER) as client:
        response = client.post("/chat-stream", json=body)
        done = last_event(response)
        replay = client.get(f"/api/chat/messages/{response.headers['x-message-id']}/stream")
    sent = json.loads(mock.stats()["requests"][-1]["body"])
    assert 256 <= sent["max_completion_tokens"] < 1600
    # The mock does not obey the limit, so the project ends the answer there.
    assert done["usage"]["completion_tokens"] == sent["max_completion_tokens"]
    assert (done["finishReason"], done["limit"]) == ("length", "budget")
    assert last_event(replay) == done
    [budget] = database.rows("select * from budgets")
    assert budget["reserved_usd"] == 0
    assert budget["spent_usd"] <= Decimal("0.0128")


def test_an_answer_that_the_client_bounds_has_no_budget_limit(database, mock):
    with serve(priced(database, mock, "tokens=3000", 1)) as url, Client(url, USER) as client:
        done = last_event(client.post("/chat-stream", json={"message": "Hi", "maxTokens": 300}))
    assert done["usage"]["completion_tokens"] == 300
    assert (done["finishReason"], "limit" in done) == ("length", False)


def test_an_answer_of_a_model_that_obeys_its_limit_is_not_cut(database, mock):
    """Its words have six bytes on average, so an estimate of its tokens is above the limit."""
    with serve(priced(database, mock, "tokens=100", 1)) as url, Client(url, USER) as client:
        response = client.post("/chat-stream", json={"message": "Hi", "maxTokens": 100})
        message_id = response.headers["x-message-id"]
    assert "finishReason" not in last_event(response)
    [message] = database.rows("select content from messages where id = %s", (message_id,))
    assert message["content"] == answer_text("tokens=100")


def test_without_a_budget_an_answer_is_not_cut(database, mock):
    with serve(priced(database, mock, "tokens=3000", 0)) as url, Client(url, USER) as client:
        done = last_event(client.post("/chat-stream", json={"message": "Hi", "maxTokens": 300}))
    assert done["usage"]["completion_tokens"] == 3000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stream-chat", {"max_tokens": 5000}),
        ("/api/chat", {"max_tokens": 5000}),
        ("/api/chat", {"max_tokens": 5000, "stream": False}),
        ("/v1/chat/completions", {"max_tokens": 5000, "model": f"{PRICED}:tokens=3000"}),
    ],
)
def test_every_format_keeps_the_budget(database, mock, path, body):
    messages = [
        {"role": "user", "content": "x" * 3000},
        {"role": "assistant", "content": "y" * 3000},
        {"role": "user", "content": "z" * 300},
    ]
    mock.reset()
    with serve(priced(database, mock, "tokens=3000", "0.01")) as url, Client(url, USER) as client:
        assert client.post(path, json=body | {"messages": messages}).status_code == 200
    sent = json.loads(mock.stats()["requests"][-1]["body"])
    # The history is shortened, so that the question can be answered.
    assert [m["content"][0] for m in sent["messages"] if m["role"] != "system"] == ["z"]
    assert sent["max_completion_tokens"] >= 256
    [budget] = database.rows("select * from budgets")
    assert (budget["reserved_usd"], budget["spent_usd"] <= Decimal("0.01")) == (0, True)


def test_the_answer_is_reserved_at_the_price_of_the_dearest_model(database, mock):
    fallback = {"LLM_FALLBACK_MODELS": "openai/gpt-4:tokens=3000"}  # 60 USD for a million tokens
    with (
        serve(priced(database, mock, "503", "0.2", **fallback)) as url,
        Client(url, USER) as client,
    ):
        assert client.post("/chat-stream", json={"message": "Hi", "maxTokens": 3000}).status_code == 200
    [budget] = database.rows("select * from budgets")
    assert Decimal("0.02") < budget["spent_usd"] <= Decimal("0.2")


def test_anonymous_users_share_a_budget_and_users_with_an_account_do_not(database, mock):
    budgets = {"BUDGET_USD_PER_DAY_ANONYMOUS": "0.01", "ALLOW_ANONYMOUS": "true"}
    with serve(priced(database, mock, "tokens=2000", 0, **budgets)) as url:
        statuses = []
        for _ in range(2):
            token = auth.sign(uuid4(), secret=SECRET, now=1.7e9, lifetime=10**9, is_anonymous=True)
            with Client(url) as client:
                headers = {"authorization": f"Bearer {token}"}
                body = {"message": "Hi", "maxTokens": 5000}
                statuses.append(client.post("/chat-stream", json=body, headers=headers).status_code)
        with Client(url) as without_token, Client(url, USER) as client:
            messages = {"messages": [{"role": "user", "content": "Hi"}]}
            statuses.append(without_token.post("/stream-chat", json=messages).status_code)
            statuses.append(client.post("/stream-chat", json=messages).status_code)
    assert statuses == [200, 429, 429, 200]
    [shared] = database.rows("select * from shared_budgets")
    assert (shared["subject"], shared["reserved_usd"]) == ("anonymous", 0)
    assert Decimal("0.005") < shared["spent_usd"] <= Decimal("0.01")
    assert database.rows("select * from budgets") == []


def test_the_total_budget_holds_for_all_users_together(database, mock):
    budgets = {"BUDGET_USD_PER_DAY_TOTAL": "0.012"}
    with serve(priced(database, mock, "tokens=5000", 0, **budgets)) as url:
        statuses = []
        for _ in range(3):
            with Client(url, uuid4()) as client:
                body = {"message": "Hi", "maxTokens": 5000}
                statuses.append(client.post("/chat-stream", json=body).status_code)
    assert statuses == [200, 429, 429]
    [shared] = database.rows("select * from shared_budgets")
    assert (shared["subject"], shared["spent_usd"] <= Decimal("0.012")) == ("total", True)


@pytest.mark.parametrize(("budget", "hits", "status"), [("0.0078", 1, 502), ("0.5", 2, 200)])
def test_a_second_attempt_is_sent_only_if_the_budget_pays_it_too(database, mock, budget, hits, status):
    """The model reports 1,000 tokens of a prompt (0.003 USD), fails before its first text, and answers when
    it is asked again. The reservation is 0.00765 USD: 256 tokens, and 1,016 bytes at the price of a cache
    write."""
    mock.reset()
    model = "anthropic/claude-sonnet-4-5:error,after=0,input=1000,fail=1"
    body = {"messages": [{"role": "user", "content": "x" * 984}], "model": model, "max_tokens": 256}
    settings = priced(database, mock, "tokens=1", budget, LLM_ALLOWED_MODELS="anthropic/*")
    with serve(settings) as url, Client(url, USER) as client:
        response = client.post("/v1/chat/completions", json=body)
    assert (response.status_code, mock.stats()["hits"]) == (status, hits)
    [row] = database.rows("select * from budgets")
    assert row["reserved_usd"] == 0
    assert Decimal("0.003") <= row["spent_usd"] <= Decimal(budget)
