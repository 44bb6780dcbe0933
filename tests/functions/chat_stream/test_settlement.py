"""Special cases of the stored functions of a turn: repeated calls, midnight, changed rows and locks."""

import threading
import time
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

USER = uuid4()
HASH = b"hash of the request"


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


def finish(database, started, content="An answer.", status="complete", rows=None, user=USER):
    return database.call(
        "finish_turn",
        user_id=user,
        answer_id=started["answer_id"],
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


def test_a_repeated_begin_returns_its_first_result(database):
    first = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    assert (
        database.begin_turn(USER, idempotency_key="k", request_hash=HASH, answer_id=first["answer_id"])[
            "outcome"
        ]
        == "started"
    )
    finish(database, first, content="", status="error", rows=[])
    again = uuid4()
    for _ in range(2):  # the second call repeats the first, as after a lost reply
        rerun = database.begin_turn(USER, idempotency_key="k", request_hash=HASH, answer_id=again)
        assert (rerun["outcome"], rerun["answer_id"]) == ("started", first["answer_id"])
        assert [message["content"] for message in rerun["history"]] == ["How are you?"]
    assert finish(database, rerun) == "complete"
    assert contents(database) == ["How are you?", "An answer."]


def test_a_turn_that_expired_without_text_runs_again(database):
    started = database.begin_turn(USER, idempotency_key="k", request_hash=HASH, lease="-1 second")
    database.call("begin_request", user_id=USER)
    again = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    assert (again["outcome"], again["answer_id"]) == ("started", started["answer_id"])


def test_a_turn_does_not_run_again_after_a_later_turn_of_the_conversation(database):
    first = database.begin_turn(USER, idempotency_key="k", request_hash=HASH)
    finish(database, first, content="", status="error", rows=[])
    finish(database, database.begin_turn(USER, conversation_id=first["conversation_id"], question="And now?"))
    assert database.begin_turn(USER, idempotency_key="k", request_hash=HASH)["outcome"] == "repeated"


def test_a_replay_has_the_usage_of_the_successful_attempt(database):
    started = database.begin_turn(USER)
    finish(database, started, rows=[usage(tokens_out=0, status="error"), usage(tokens_out=7)])
    answer = database.call("read_answer", user_id=USER, answer_id=started["answer_id"], offset=0)
    assert answer["usage"]["tokens_out"] == 7


def test_a_turn_can_finish_after_its_reservation_was_reset(database):
    started = database.begin_turn(USER)
    database.rows("update budgets set reserved_usd = 0")
    assert finish(database, started) == "complete"
    assert (budget(database)["reserved_usd"], budget(database)["spent_usd"]) == (0, Decimal("0.5"))


def test_one_users_bad_row_does_not_stop_the_sweep_for_others(database):
    database.begin_turn(USER, lease="-1 second")
    database.rows(f"alter table usage_logs add constraint broken check (user_id <> '{USER}')")
    other = uuid4()
    database.begin_turn(other, lease="-1 second")
    database.as_user(None, "select app.sweep_turns()")
    rows = database.rows("select user_id, status from turns")
    assert {row["user_id"]: row["status"] for row in rows} == {USER: "running", other: "interrupted"}


def test_a_turn_over_midnight_frees_the_first_day_and_charges_the_second(database):
    started = database.begin_turn(USER)
    database.rows("update turns set created_at = created_at - interval '1 day'")
    database.rows("update budgets set day = day - 1")
    today = database.begin_turn(USER)  # creates the row of today
    reserved = budget_of_today(database)["reserved_usd"]
    finish(database, started)
    rows = database.rows("select day, spent_usd, reserved_usd from budgets order by day")
    assert [(row["spent_usd"], row["reserved_usd"]) for row in rows] == [(0, 0), (Decimal("0.5"), reserved)]
    assert rows[1]["day"] - rows[0]["day"] == timedelta(days=1)
    finish(database, today)
    assert budget_of_today(database)["spent_usd"] == 1


def budget_of_today(database):
    return database.rows("select * from budgets order by day desc limit 1")[0]


def test_a_turn_without_a_budget_adds_to_an_existing_budget_row(database):
    finish(database, database.begin_turn(USER))
    finish(database, database.begin_turn(USER, budget=Decimal(0)))
    assert budget(database)["spent_usd"] == 1


@pytest.mark.parametrize(("content", "status"), [("", "error"), ("", "interrupted")])
def test_a_regeneration_without_text_keeps_the_old_answer(database, content, status):
    started = database.begin_turn(USER)
    finish(database, started, content="The old answer.")
    regenerated = database.begin_turn(USER, conversation_id=started["conversation_id"], replaces="")
    assert contents(database) == ["How are you?", "The old answer.", ""]
    finish(database, regenerated, content=content, status=status, rows=[])
    assert "The old answer." in contents(database)


def test_the_text_of_an_expired_regeneration_replaces_the_old_answer(database):
    started = database.begin_turn(USER)
    finish(database, started, content="The old answer.")
    regenerated = database.begin_turn(USER, conversation_id=started["conversation_id"], replaces="")
    database.call(
        "checkpoint_turn", user_id=USER, answer_id=regenerated["answer_id"], content="The new", lease="-1 s"
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


def test_a_stateless_turn_stores_only_its_cost(database):
    started = stateless(database, uuid4())
    assert started["outcome"] == "started"
    assert finish(database, started) == "complete"
    assert database.rows("select 1 from messages") == database.rows("select 1 from conversations") == []
    [row] = database.rows("select * from usage_logs")
    assert (row["user_id"], row["conversation_id"]) == (USER, None)
    assert (budget(database)["spent_usd"], budget(database)["reserved_usd"]) == (Decimal("0.5"), 0)


def test_a_stateless_key_can_be_used_again_if_no_model_answered(database):
    first = stateless(database, uuid4(), "k", HASH)
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "repeated"
    assert stateless(database, uuid4(), "k", b"another")["outcome"] == "mismatch"
    finish(database, first, status="error", rows=[])
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "started"


def test_a_stateless_key_stays_used_after_a_partial_answer(database):
    first = stateless(database, uuid4(), "k", HASH)
    finish(database, first, status="error", rows=[usage(tokens_out=7, status="error")])
    assert stateless(database, uuid4(), "k", HASH)["outcome"] == "repeated"


def test_a_question_that_waited_for_a_lock_is_after_the_message_stored_meanwhile(database):
    """begin_turn locks the conversation before it takes the time of the question."""
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


def test_a_new_turn_in_a_deleted_conversation_is_a_conflict_while_its_answer_runs(database):
    name = {"conversation_id": uuid4(), "create_missing": True}
    name["new_conversation_id"] = name["conversation_id"]
    started = database.begin_turn(USER, **name)
    assert database.call("delete_conversation", user_id=USER, conversation_id=name["conversation_id"])
    assert database.begin_turn(USER, **name)["outcome"] == "conflict"
    finish(database, started)
    assert database.begin_turn(USER, **name)["outcome"] == "started"


def test_a_regeneration_counts_the_tokens_of_its_question_once(database):
    question = "x" * 4000  # 1,000 tokens
    started = database.begin_turn(USER, question=question)
    finish(database, started, content="y" * 400)
    database.begin_turn(USER, conversation_id=started["conversation_id"], question=question, replaces="")
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
def test_a_request_without_a_required_field_is_an_error(database, function, missing):
    started = database.begin_turn(USER)
    requests = {
        "begin_turn": database.begin_request(USER),
        "begin_stateless_turn": database.begin_request(USER) | {"prompt_tokens": 10},
        "finish_turn": {
            "user_id": USER,
            "answer_id": started["answer_id"],
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


def test_deleting_a_conversation_during_the_save_of_its_answer_does_not_deadlock(database):
    deadlocks = []

    def one_round(number):
        started = database.begin_turn(USER, rate_limit=1000)
        barrier = threading.Barrier(2)

        def delete():
            barrier.wait()
            try:
                database.call("delete_conversation", user_id=USER, conversation_id=started["conversation_id"])
            except psycopg.errors.DeadlockDetected as error:
                deadlocks.append(error)

        deleting = threading.Thread(target=delete)
        deleting.start()
        barrier.wait()
        try:
            finish(database, started)
        except psycopg.errors.DeadlockDetected as error:
            deadlocks.append(error)
        deleting.join()

    for number in range(40):
        one_round(number)
    assert deadlocks == []
    assert database.rows("select 1 from messages") == []
    assert len(database.rows("select 1 from usage_logs")) == 40


def test_a_checkpoint_in_a_deleted_conversation_returns_cancel(database):
    started = database.begin_turn(USER)
    conversation_id = started["conversation_id"]
    assert database.call("delete_conversation", user_id=USER, conversation_id=conversation_id)
    state = database.call(
        "checkpoint_turn", user_id=USER, answer_id=started["answer_id"], content="x", lease="15 s"
    )
    assert state == "cancel"
    assert not database.call("delete_conversation", user_id=uuid4(), conversation_id=conversation_id)
