"""The stored functions of budgets: what a turn reserves for a user, for anonymous users and for all users."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

USER, OTHER = uuid4(), uuid4()
# 100 tokens of the answer cost 0.1 USD, 100 bytes of the prompt 0.001 USD.
PRICES = {"prompt": "0.00001", "answer": "0.001", "long_from": None, "long_prompt": "0", "long_answer": "0"}
LIMITS = {"budget": "10", "budget_anonymous": "10", "budget_total": "10"}


def begin(database, user_id=USER, **fields):
    """Begins a turn with a prompt of 116 bytes for the system and 20 for the question."""
    defaults = {"system_bytes": 116, "question": "Why?", "prices": PRICES, "max_tokens": 1000}
    return database.begin_turn(user_id, **{"rate_limit": 1000, **LIMITS, **defaults, **fields})


def finish(database, started, cost="0.5", user_id=USER):
    usage = {"id": uuid4(), "provider": "p", "model": "m", "tokens_in": 1, "tokens_out": 1, "cost_usd": cost}
    usage |= {"priced": True, "status": "complete", "duration_ms": 1}
    fields = {"status": "complete", "content": "Well.", "token_count": 2, "metadata": {}, "usage": [usage]}
    return database.call("finish_turn", user_id=user_id, answer_id=started["answer_id"], **fields)


def budgets(database):
    """(reserved, spent) by subject."""
    rows = database.rows(
        "select 'user' as subject, reserved_usd, spent_usd from budgets"
        " union all select subject, reserved_usd, spent_usd from shared_budgets"
    )
    return {row["subject"]: (row["reserved_usd"], row["spent_usd"]) for row in rows}


RESERVED = Decimal("1.00136")  # 136 bytes and 1,000 tokens


def test_a_turn_reserves_its_largest_cost_in_each_budget_and_frees_it_once(database, owner_rights):
    started = begin(database)
    assert (started["max_tokens"], started["prompt_bytes"]) == (1000, 136)
    assert budgets(database) == dict.fromkeys(("user", "anonymous", "total"), (RESERVED, 0))
    finish(database, started)
    finish(database, started)
    assert budgets(database) == dict.fromkeys(("user", "anonymous", "total"), (0, Decimal("0.5")))


@pytest.mark.parametrize("subject", ["user", "anonymous", "total"])
def test_a_turn_reserves_only_in_budgets_that_are_set(database, subject):
    names = {"user": "budget", "anonymous": "budget_anonymous", "total": "budget_total"}
    started = begin(database, **{name: "10" if name == names[subject] else "0" for name in LIMITS})
    assert budgets(database) == {subject: (RESERVED, 0)}
    finish(database, started)
    assert budgets(database) == {subject: (0, Decimal("0.5"))}


@pytest.mark.parametrize("limit", LIMITS)
def test_the_smallest_budget_bounds_the_answer(database, limit):
    assert begin(database, **{limit: "0.50136"})["max_tokens"] == 500
    assert begin(database, **{limit: "0.50136"}, user_id=USER)["outcome"] == "budget_exceeded"


@pytest.mark.parametrize(
    ("budget", "max_tokens", "reserved"),
    [
        ("0.25736", 1000, (256, 136)),
        ("0.25735", 1000, None),
        ("0.10136", 100, (100, 136)),  # the client wants less than 256
        ("0.10135", 100, None),
    ],
)
def test_an_answer_below_256_tokens_is_refused(database, budget, max_tokens, reserved):
    started = begin(database, budget=budget, max_tokens=max_tokens)
    if reserved is None:
        assert started["outcome"] == "budget_exceeded"
        assert 0 < started["renews_in"] <= 24 * 3600
    else:
        assert (started["max_tokens"], started["prompt_bytes"]) == reserved


@pytest.fixture
def conversation_id(database):
    """A conversation with a question and an answer of 1,000 bytes."""
    started = begin(database, question="x" * 1000)
    finish(database, started, "0")
    database.rows("update messages set content = repeat('y', 1000) where role = 'assistant'")
    database.rows("truncate budgets, shared_budgets")
    return started["conversation_id"]


@pytest.mark.parametrize(
    ("budget", "reserved"),
    [
        # system 116, two messages of 1,016, question 20: 2,168 bytes
        ("10", (1000, 2168)),
        ("0.27768", (256, 2168)),
        ("0.27767", (256, 2167)),  # the caller leaves out the first message
        ("0.25736", (256, 136)),
        ("0.25735", None),
    ],
)
def test_a_prompt_that_does_not_fit_is_shortened_before_the_turn_is_refused(
    database, conversation_id, budget, reserved
):
    started = begin(database, conversation_id=conversation_id, budget=budget)
    assert reserved == (
        (started["max_tokens"], started["prompt_bytes"]) if started["outcome"] == "started" else None
    )


@pytest.mark.parametrize(
    ("budget", "prompt_bytes", "reserved"),
    [
        ("100", 2000, (1000, 2000)),  # long: 2,000 x 0.00002 + 1,000 x 0.002
        ("2.03", 2000, (995, 2000)),
        ("0.55", 2000, (256, 1900)),  # long and shortened: 0.512 for the answer, 0.038 for the prompt
        ("0.5", 2000, (490, 1000)),  # the long prices do not fit; at the short ones 1,000 bytes cost 0.01
        ("0.25836", 2000, (256, 236)),
        ("100", 1000, (1000, 1000)),
    ],
)
def test_a_long_prompt_counts_at_its_own_prices(database, budget, prompt_bytes, reserved):
    prices = PRICES | {"long_from": 1000, "long_prompt": "0.00002", "long_answer": "0.002"}
    started = stateless(database, budget=budget, prompt_bytes=prompt_bytes, prices=prices)
    assert (started["max_tokens"], started["prompt_bytes"]) == reserved


def stateless(database, **fields):
    request = database.begin_request(
        USER, rate_limit=1000, max_tokens=1000, prompt_tokens=30, fixed_bytes=136
    )
    return database.call("begin_stateless_turn", **request | fields)


def test_free_models_need_no_budget(database):
    free = dict.fromkeys(PRICES, "0") | {"long_from": None}
    started = begin(database, prices=free, budget="0.00001")
    assert (started["max_tokens"], started["prompt_bytes"]) == (1000, 136)
    assert budgets(database)["user"] == (0, 0)


def test_a_repeated_call_returns_the_same_limits_and_reserves_nothing(database):
    request = {"answer_id": uuid4(), "budget": "0.50136", "new_conversation_id": uuid4()}
    first = begin(database, **request)
    again = begin(database, **request)
    assert {**first, "rate": None} == again
    assert first["max_tokens"] == 500
    assert budgets(database)["user"][0] == Decimal("0.50136")


def test_a_turn_over_midnight_frees_the_first_day_and_charges_the_second(database):
    started = begin(database)
    database.rows("update turns set created_at = created_at - interval '1 day'")
    database.rows("update shared_budgets set day = day - 1")
    finish(database, started)
    rows = database.rows("select * from shared_budgets where subject = 'total' order by day")
    assert [(row["reserved_usd"], row["spent_usd"]) for row in rows] == [(0, 0), (0, Decimal("0.5"))]


def test_an_expired_turn_frees_its_shared_reservations(database, owner_rights):
    begin(database, lease="-1 second")
    database.as_user(None, "select app.sweep_turns()")
    assert {reserved for reserved, _ in budgets(database).values()} == {0}
    assert {spent for _, spent in budgets(database).values()} == {budgets(database)["user"][1]}


def test_an_interrupted_answer_costs_at_most_its_reservation(database):
    started = begin(database, max_tokens=100, lease="-1 second")
    fields = {"answer_id": started["answer_id"], "content": "x" * 4000, "lease": "-1 second"}
    database.call("checkpoint_turn", user_id=USER, **fields)
    database.call("begin_request", user_id=USER)
    [usage] = database.rows("select tokens_out from usage_logs")
    assert usage["tokens_out"] == 100


def reserve_attempt(database, started, usd, **limits):
    return database.call(
        "reserve_attempt", user_id=USER, answer_id=started["answer_id"], usd=usd, **LIMITS | limits
    )


def test_another_attempt_is_reserved_in_each_budget_of_the_turn(database):
    started = begin(database)
    assert reserve_attempt(database, started, "2") is True
    assert budgets(database) == dict.fromkeys(("user", "anonymous", "total"), (RESERVED + 2, 0))
    assert reserve_attempt(database, started, "7") is False
    assert reserve_attempt(database, started, "1", budget_total="4") is False
    finish(database, started)
    assert budgets(database) == dict.fromkeys(("user", "anonymous", "total"), (0, Decimal("0.5")))
    assert reserve_attempt(database, started, "0") is False  # the turn has ended


def test_another_user_cannot_reserve_for_a_turn(database):
    started = begin(database)
    fields = {"answer_id": started["answer_id"], "usd": "1", **LIMITS}
    assert database.call("reserve_attempt", user_id=OTHER, **fields) is False


def test_parallel_turns_of_many_users_do_not_deadlock(database):
    users = [uuid4() for _ in range(8)]

    def one_user(user_id):
        for number in range(12):
            started = begin(database, user_id, budget="1000", budget_anonymous="1000", budget_total="1000")
            # Every third turn is never finished, so that the next one settles it.
            if number % 3:
                finish(database, started, user_id=user_id)
            else:
                database.rows(
                    "update turns set lease_expires_at = now() where id = %s", (started["answer_id"],)
                )
            if number % 4 == 0:
                database.as_user(None, "select app.sweep_turns()")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_user, users))
    for user_id in users:
        database.call("begin_request", user_id=user_id)
    assert {reserved for reserved, _ in budgets(database).values()} == {0}
    [usage] = database.rows("select sum(cost_usd) as usd from usage_logs")
    assert budgets(database)["total"][1] == usage["usd"]


def test_the_app_cannot_delete_shared_budgets(database):
    begin(database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.as_user(USER, "delete from shared_budgets")
