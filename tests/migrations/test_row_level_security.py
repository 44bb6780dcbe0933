"""Row-level security of every table with user data, for every kind of table owner.

The tables are read from the catalogue, so that a new table fails until it is listed here.
"""

from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

ALICE, BOB = uuid4(), uuid4()
TABLES = ["budgets", "conversations", "messages", "rate_limits", "turns", "usage_logs"]


@pytest.fixture
def database(database, owner_rights):
    return database


@pytest.fixture
def alices_conversation(database):
    """The conversation of a finished turn of Alice. The turn has a row in every table."""
    started = database.begin_turn(ALICE)
    conversation, answer = UUID(started["conversation_id"]), started["answer_id"]
    usage = {
        "id": str(uuid4()),
        "provider": "scripted",
        "model": "echo",
        "tokens_in": 1,
        "tokens_out": 2,
        "tokens_cache_read": 0,
        "tokens_cache_write": 0,
        "tokens_reasoning": 0,
        "cost_usd": "0.1",
        "priced": True,
        "estimated": False,
        "status": "complete",
        "duration_ms": 3,
    }
    database.call(
        "finish_turn",
        user_id=ALICE,
        answer_id=answer,
        status="complete",
        content="Well.",
        token_count=2,
        metadata={},
        usage=[usage],
    )
    return conversation


def test_every_table_forces_row_level_security(database):
    unprotected = {
        row["relname"]
        for row in database.as_user(
            None,
            "select relname from pg_class where relnamespace = 'public'::regnamespace"
            " and relkind in ('r', 'p') and not (relrowsecurity and relforcerowsecurity)",
        )
    }
    assert unprotected == set()


def test_the_tests_cover_every_table(database):
    tables = {
        row["tablename"]
        for row in database.rows("select tablename from pg_tables where schemaname = 'public'")
    }
    # shared_budgets has no data of a user: see tests/functions/chat_stream/test_shared_budgets.py.
    assert tables == {*TABLES, "shared_budgets"}


def test_the_app_role_owns_no_table_and_has_no_special_rights(database):
    [role] = database.rows(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = 'chat_app'"
    )
    assert not any(role.values())
    assert database.rows("select 1 from pg_class where relowner = 'chat_app'::regrole") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.as_user(None, "select * from app.schema_migrations")


@pytest.mark.parametrize("table", TABLES)
def test_only_its_user_sees_a_row(database, alices_conversation, table):
    assert database.as_user(ALICE, f"select 1 from {table}")
    assert database.as_user(BOB, f"select 1 from {table}") == []
    assert database.as_user(None, f"select 1 from {table}") == []


@pytest.mark.parametrize("table", TABLES)
def test_a_user_cannot_change_or_delete_rows_of_another_user(database, alices_conversation, table):
    before = database.rows(f"select * from {table}")
    column, value = next(iter(before[0].items()))
    # Neither statement reads a column, so that only the policies for update and delete apply.
    for statement, params in ((f"update {table} set {column} = %s", [value]), (f"delete from {table}", [])):
        try:
            with psycopg.connect(database.url) as connection:
                connection.execute("select set_config('app.user_id', %s, true)", (str(BOB),))
                assert connection.execute(statement.encode(), params).rowcount == 0
        except psycopg.errors.InsufficientPrivilege:
            # The app has no right to change these tables directly.
            assert table in {"budgets", "rate_limits", "turns", "usage_logs"}
    assert database.rows(f"select * from {table}") == before


@pytest.mark.parametrize("table", TABLES)
def test_a_user_cannot_insert_a_row_of_another_user(database, alices_conversation, table):
    [row] = database.rows(f"select * from {table} limit 1")
    others = {"id": uuid4(), "user_id": BOB, "subject": f"user:{BOB}"}
    row |= {column: value for column, value in others.items() if column in row}
    row.pop("active_at", None)  # a generated column
    if table == "turns":
        row["conversation_id"] = uuid4()
    columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
    row = {name: Jsonb(v) if isinstance(v, dict) else v for name, v in row.items()}
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        database.as_user(ALICE, f"insert into {table} ({columns}) values ({values})", list(row.values()))


def test_a_user_cannot_add_a_message_to_another_users_conversation(database, alices_conversation):
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.as_user(
            BOB,
            "insert into messages (id, conversation_id, user_id, role, content)"
            " values (%s, %s, %s, 'user', 'x')",
            (uuid4(), alices_conversation, BOB),
        )


def test_a_connection_sees_no_rows_after_the_transaction_of_a_user(database, alices_conversation):
    with psycopg.connect(database.url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("select set_config('app.user_id', %s, true)", (str(ALICE),))
            assert connection.execute("select id from conversations").fetchall() == [(alices_conversation,)]
        assert connection.execute("select id from conversations").fetchall() == []


def test_only_the_app_may_call_functions_and_most_run_with_its_rights(database):
    [row] = database.rows("select has_schema_privilege('public', 'app', 'usage') as usage")
    assert not row["usage"]
    functions = database.rows(
        "select proname, prosecdef, proconfig from pg_proc where pronamespace = 'app'::regnamespace"
    )
    # Without an empty search_path, a caller could make a function call functions of another schema.
    assert [f["proname"] for f in functions if 'search_path=""' not in (f["proconfig"] or [])] == []
    security_definer = {f["proname"] for f in functions if f["prosecdef"]}
    assert security_definer == {
        "find_messages",
        "sweep_rate_limits",
        "transfer_ownership",
        "users_with_expired_turns",
    }
