"""The stored functions of a turn at their edges: repeated calls, runs again, midnight, mended rows, locks."""

import threading
import time
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

USER = uuid4()
HASH = b"what was asked"


def usage(cost="0.5", tokens_out=7, status="complete"):
    return {
        "id": str(uuid4()),
        "provider": "openai",
        "model": "some-model",
        "tokens_in": 3,
        "tokens_out": tokens_out,
        "tokens_cache_read": 0,
        "tokens_cache_write": 0,
        "tokens_reasoning": 0,
        "cost_usd": cost,
        "priced": True,
        "estimated": False,
        "status": status,
        "duration_ms": 5,
    }


def finish(database, begun, content="An answer.", status="complete", rows=None, user=USER):
    return database.call(
        "finish_turn",
        user_id=user,
        answer_id=begun["answer_id"],
        status=status,
        content=content,
        token_count=7,
        metadata={},
        usage=[usage()] if rows is None else rows,
    )


def budget(database):
    [row] = database.rows("select * from budgets")
    return row


def contents(database):
    return [row["content"] for row in database.rows("select content from messages order by created_at, id")]


def test_a_begin_that_is_made_again_finds_itself_also_when_it_ran_a_turn_again(database):
    first = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    assert (
        database.begin_turn(USER, idempotency_key="k", request_hash=HASH, answer_id=first["answer_id"])[
            "outcome"
        ]
        == "started"
    )
    finish(database, first, content="", status="error", rows=[])
    again = uuid4()
    for _ in range(2):  # the second is the same call, as its reply was lost
        rerun = database.begin_turn(USER, idempotency_key="k", request_hash=HASH, answer_id=again)
        assert (rerun["outcome"], rerun["answer_id"]) == ("started", first["answer_id"])
        assert [message["content"] for message in rerun["history"]] == ["How are you?"]
    assert finish(database, rerun) == "complete"
    assert contents(database) == ["How are you?", "An answer."]


def test_a_turn_that_died_before_its_first_word_is_run_again(database):
    begun = database.begin_turn(USER, idempotency_key="k", request_hash=HASH, lease="-1 second")
    database.call("begin_request", user_id=USER)
    again = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    assert (again["outcome"], again["answer_id"]) == ("started", begun["answer_id"])


def test_a_turn_is_not_run_again_when_the_conversation_has_gone_on(database):
    first = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    finish(database, first, content="", status="error", rows=[])
    finish(database, database.begin_turn(USER, conversation_id=first["conversation_id"], question="And now?"))
    assert database.begin_turn(USER, idempotency_key="k", request_hash=HASH)["outcome"] == "repeated"


def test_a_replay_has_the_usage_of_the_attempt_that_answered(database):
    begun = database.begin_turn(USER)
    finish(database, begun, rows=[usage(tokens_out=0, status="error"), usage(tokens_out=7)])
    answer = database.call("read_answer", user_id=USER, answer_id=begun["answer_id"], offset=0)
    assert answer["usage"]["tokens_out"] == 7


def test_a_budget_row_that_was_mended_by_hand_costs_nobody_an_answer(database):
    begun = database.begin_turn(USER)
    database.rows("update budgets set reserved_usd = 0")
    assert finish(database, begun) == "complete"
    assert (budget(database)["reserved_usd"], budget(database)["spent_usd"]) == (0, Decimal("0.5"))


def test_what_is_wrong_with_ones_rows_hinders_no_sweep_for_others(database):
    database.begin_turn(USER, lease="-1 second")
    database.rows(f"alter table usage_logs add constraint broken check (user_id <> '{USER}')")
    other = uuid4()
    database.begin_turn(other, lease="-1 second")
    database.as_user(None, "select app.sweep_turns()")
    rows = database.rows("select user_id, status from turns")
    assert {row["user_id"]: row["status"] for row in rows} == {USER: "running", other: "interrupted"}


def test_a_turn_over_midnight_is_freed_on_its_day_and_paid_on_the_next(database):
    begun = database.begin_turn(USER)
    database.rows("update turns set created_at = created_at - interval '1 day'")
    database.rows("update budgets set day = day - 1")
    today = database.begin_turn(USER)  # opens today's row
    held = budget_of_today(database)["reserved_usd"]
    finish(database, begun)
    rows = database.rows("select day, spent_usd, reserved_usd from budgets order by day")
    assert [(row["spent_usd"], row["reserved_usd"]) for row in rows] == [(0, 0), (Decimal("0.5"), held)]
    assert rows[1]["day"] - rows[0]["day"] == timedelta(days=1)
    finish(database, today)
    assert budget_of_today(database)["spent_usd"] == 1


def budget_of_today(database):
    return database.rows("select * from budgets order by day desc limit 1")[0]


def test_a_turn_without_a_budget_counts_into_one_that_is_there(database):
    finish(database, database.begin_turn(USER))
    finish(database, database.begin_turn(USER, budget=Decimal(0)))
    assert budget(database)["spent_usd"] == 1


@pytest.mark.parametrize(("content", "status"), [("", "error"), ("", "interrupted")])
def test_an_answer_is_not_replaced_by_nothing(database, content, status):
    begun = database.begin_turn(USER)
    finish(database, begun, content="The old answer.")
    anew = database.begin_turn(USER, conversation_id=begun["conversation_id"], replaces="")
    assert contents(database) == ["How are you?", "The old answer.", ""]
    finish(database, anew, content=content, status=status, rows=[])
    assert "The old answer." in contents(database)


def test_an_answer_is_replaced_by_what_a_dead_writer_left(database):
    begun = database.begin_turn(USER)
    finish(database, begun, content="The old answer.")
    anew = database.begin_turn(USER, conversation_id=begun["conversation_id"], replaces="")
    database.call(
        "checkpoint_turn", user_id=USER, answer_id=anew["answer_id"], content="The new", lease="-1 s"
    )
    database.call("begin_request", user_id=USER)
    assert contents(database) == ["How are you?", "The new"]


def stateless(database, answer_id, key=None, hash_=None):
    return database.call(
        "begin_stateless_turn",
        user_id=USER,
        answer_id=answer_id,
        idempotency_key=key,
        request_hash=hash_,
        model="openai/x",
        prompt_tokens=10,
        max_tokens=10,
        usd_per_input=0.001,
        usd_per_output=0.01,
        priced=True,
        lease="15 s",
        rate_limit=5,
        rate_window=60,
        budget=100,
    )


def test_a_stateless_turn_stores_nothing_but_its_cost(database):
    begun = stateless(database, uuid4())
    assert begun["outcome"] == "started"
    assert finish(database, begun) == "complete"
    assert database.rows("select 1 from messages") == database.rows("select 1 from conversations") == []
    [row] = database.rows("select * from usage_logs")
    assert (row["user_id"], row["conversation_id"]) == (USER, None)
    assert (budget(database)["spent_usd"], budget(database)["reserved_usd"]) == (Decimal("0.5"), 0)


def test_a_stateless_key_is_used_once_and_free_again_where_no_model_answered(database):
    first = stateless(database, uuid4(), "k", HASH)
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "repeated"
    assert stateless(database, uuid4(), "k", b"another")["outcome"] == "mismatch"
    finish(database, first, status="error", rows=[])
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "started"


def test_a_stateless_key_stays_used_where_a_model_has_answered_a_part(database):
    first = stateless(database, uuid4(), "k", HASH)
    finish(database, first, status="error", rows=[usage(tokens_out=7, status="error")])
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "repeated"


def test_a_question_stands_after_a_message_that_was_stored_while_it_waited(database):
    """The lock of the conversation comes before the time of the question."""
    conversation_id = database.begin_turn(USER)["conversation_id"]
    database.rows("update turns set status = 'complete', settled_at = now()")
    with psycopg.connect(database.url) as other:
        other.execute("select set_config('app.user_id', %s, true)", (str(USER),))
        other.execute("select from conversations for no key update")
        turn = threading.Thread(
            target=lambda: database.begin_turn(USER, conversation_id=conversation_id, question="last")
        )
        turn.start()
        while not database.rows("select 1 from pg_locks where not granted"):
            time.sleep(0.01)
        other.execute(
            "insert into messages (id, conversation_id, user_id, role, content)"
            " values (%s, %s, %s, 'user', 'added')",
            (uuid4(), conversation_id, USER),
        )
        other.commit()
        turn.join()
    assert contents(database) == ["How are you?", "", "added", "last", ""]


def test_a_named_conversation_that_was_deleted_while_its_answer_runs_is_a_conflict(database):
    name = {"conversation_id": uuid4(), "create_missing": True}
    name["new_conversation_id"] = name["conversation_id"]
    begun = database.begin_turn(USER, **name)
    assert database.call("delete_conversation", user_id=USER, conversation_id=name["conversation_id"])
    assert database.begin_turn(USER, **name)["outcome"] == "conflict"
    finish(database, begun)
    assert database.begin_turn(USER, **name)["outcome"] == "started"


def test_the_question_of_a_regenerated_answer_is_estimated_once(database):
    question = "x" * 4000  # 1,000 tokens
    begun = database.begin_turn(USER, question=question)
    finish(database, begun, content="y" * 400)
    database.begin_turn(USER, conversation_id=begun["conversation_id"], question=question, replaces="")
    rows = database.rows("select prompt_tokens from turns order by created_at")
    assert [row["prompt_tokens"] for row in rows] == [1100, 1100]


REQUIRED = {
    "begin_turn": ("question", "max_tokens", "history_limit", "rate_limit", "rate_window", "budget", "lease"),
    "begin_stateless_turn": ("prompt_tokens", "max_tokens", "rate_limit", "rate_window", "budget", "lease"),
    "finish_turn": ("status", "content", "token_count", "usage"),
    "consume_rate_limit": ("scope", "limit", "window"),
    "log_unstored_usage": ("usage",),
}


@pytest.mark.parametrize(
    ("function", "missing"), [(function, name) for function, names in REQUIRED.items() for name in names]
)
def test_a_request_without_a_limit_or_a_cost_is_an_error_and_not_unlimited(database, function, missing):
    begun = database.begin_turn(USER)
    requests = {
        "begin_turn": database.begin_request(USER),
        "begin_stateless_turn": database.begin_request(USER) | {"prompt_tokens": 10},
        "finish_turn": {
            "user_id": USER,
            "answer_id": begun["answer_id"],
            "status": "complete",
            "content": "Hi",
            "token_count": 1,
            "metadata": {},
            "usage": [],
        },
        "consume_rate_limit": {"scope": "chat", "limit": 5, "window": 60, "address": "a"},
        "log_unstored_usage": {"user_id": USER, "answer_id": uuid4(), "usage": []},
    }
    request = requests[function]
    database.call(function, **request)
    del request[missing]
    if function.startswith("begin"):
        request |= {"answer_id": uuid4(), "question_id": uuid4(), "new_conversation_id": uuid4()}
    with pytest.raises(psycopg.Error):
        database.call(function, **request)


def test_deleting_a_conversation_while_its_answer_is_saved_does_not_deadlock(database):
    deadlocks = []

    def one_round(number):
        begun = database.begin_turn(USER, rate_limit=1000)
        both = threading.Barrier(2)

        def delete():
            both.wait()
            try:
                database.call("delete_conversation", user_id=USER, conversation_id=begun["conversation_id"])
            except psycopg.errors.DeadlockDetected as error:
                deadlocks.append(error)

        deleting = threading.Thread(target=delete)
        deleting.start()
        both.wait()
        try:
            finish(database, begun)
        except psycopg.errors.DeadlockDetected as error:
            deadlocks.append(error)
        deleting.join()

    for number in range(40):
        one_round(number)
    assert deadlocks == []
    assert database.rows("select 1 from messages") == []
    assert len(database.rows("select 1 from usage_logs")) == 40


def test_a_deleted_conversations_writer_is_told_to_stop(database):
    begun = database.begin_turn(USER)
    conversation_id = begun["conversation_id"]
    assert database.call("delete_conversation", user_id=USER, conversation_id=conversation_id)
    state = database.call(
        "checkpoint_turn", user_id=USER, answer_id=begun["answer_id"], content="x", lease="15 s"
    )
    assert state == "cancel"
    assert not database.call("delete_conversation", user_id=uuid4(), conversation_id=conversation_id)
