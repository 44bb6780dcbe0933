"""What the table owner can see, and what functions that run with the rights of the owner change."""

from uuid import uuid4

import psycopg
import pytest

USER, ANONYMOUS, OTHER = uuid4(), uuid4(), uuid4()
TABLES = ["budgets", "conversations", "messages", "rate_limits", "shared_budgets", "turns", "usage_logs"]
EXPIRED = "-1 second"


def add_message(database, user_id, content):
    conversation = uuid4()
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (conversation, user_id))
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content)"
        " values (%s, %s, %s, 'assistant', %s)",
        (uuid4(), conversation, user_id, content),
    )


def finished_turn(database, user_id):
    started = database.begin_turn(user_id)
    usage = {
        "id": uuid4(),
        "provider": "openai",
        "model": "m",
        "tokens_in": 1,
        "tokens_out": 1,
        "cost_usd": "0.5",
        "priced": True,
        "status": "complete",
        "duration_ms": 1,
    }
    database.call(
        "finish_turn",
        user_id=user_id,
        answer_id=started["answer_id"],
        status="complete",
        content="Well.",
        token_count=2,
        metadata={},
        usage=[usage],
    )


def rows_by_user(database, table):
    return {
        row["user_id"]: row["count"]
        for row in database.rows(f"select user_id, count(*) from {table} group by user_id")
    }


def test_a_plain_owner_sees_only_expired_rows(database):
    finished_turn(database, USER)
    with psycopg.connect(database.owner_url) as owner:
        seen = [len(owner.execute(f"select 1 from {table}").fetchall()) for table in TABLES]
        assert seen == [0] * len(TABLES)
        database.rows("update rate_limits set expires_at = now() - interval '1 second'")
        assert len(owner.execute("select 1 from rate_limits").fetchall()) == 1


def test_a_plain_owner_sees_no_message_before_during_and_after_a_search(database):
    add_message(database, USER, "sleep")
    add_message(database, OTHER, "sleep")
    add_message(database, USER, "awake")
    with psycopg.connect(database.owner_url) as owner:
        assert owner.execute("select content from messages").fetchall() == []
        owner.execute("select set_config('app.user_id', %s, true)", (str(USER),))
        assert owner.execute("select content from messages").fetchall() == []
        assert len(owner.execute("select app.find_messages('sleep', 10)").fetchall()) == 1
        assert owner.execute("select content from messages").fetchall() == []


@pytest.mark.parametrize("table", ["conversations", "messages", "turns", "usage_logs"])
def test_a_claim_moves_only_the_rows_of_the_anonymous_user(database, owner_rights, table):
    for user_id in (ANONYMOUS, OTHER):
        finished_turn(database, user_id)
    before = rows_by_user(database, table)
    result = database.call(
        "claim_conversations", user_id=USER, anonymous_id=ANONYMOUS, rate_limit=5, rate_window=60
    )
    assert (result["outcome"], result["claimed"]) == ("claimed", 1)
    assert rows_by_user(database, table) == {USER: before[ANONYMOUS], OTHER: before[OTHER]}


def test_a_sweep_deletes_only_expired_rate_limits(database, owner_rights):
    for user_id in (USER, OTHER):
        database.begin_turn(user_id)
    database.rows("update rate_limits set expires_at = now() where subject = %s", (f"user:{OTHER}",))
    database.as_user(None, "select app.sweep_rate_limits()")
    assert [row["subject"] for row in database.rows("select * from rate_limits")] == [f"user:{USER}"]


def test_a_sweep_settles_only_expired_turns(database, owner_rights):
    database.begin_turn(USER)
    database.begin_turn(OTHER, lease=EXPIRED)
    database.as_user(None, "select app.sweep_turns()")
    rows = database.rows("select user_id, status from turns")
    assert {row["user_id"]: row["status"] for row in rows} == {USER: "running", OTHER: "interrupted"}
