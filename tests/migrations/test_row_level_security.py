"""The rules of every table with user data, read from the catalogue, so that they cover a new table at once.
They hold for any owner of the tables."""

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
def alices(database):
    """A finished turn of Alice, which has a row in every table."""
    begun = database.begin_turn(ALICE)
    conversation, answer = UUID(begun["conversation_id"]), begun["answer_id"]
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


def test_the_contract_covers_every_table(database):
    tables = {
        row["tablename"]
        for row in database.rows("select tablename from pg_tables where schemaname = 'public'")
    }
    assert tables == set(TABLES)


def test_the_app_owns_nothing_and_cannot_bypass_anything(database):
    [role] = database.rows(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = 'chat_app'"
    )
    assert not any(role.values())
    assert database.rows("select 1 from pg_class where relowner = 'chat_app'::regrole") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.as_user(None, "select * from app.schema_migrations")


@pytest.mark.parametrize("table", TABLES)
def test_a_row_is_seen_by_its_owner_and_by_nobody_else(database, alices, table):
    assert database.as_user(ALICE, f"select 1 from {table}")
    assert database.as_user(BOB, f"select 1 from {table}") == []
    assert database.as_user(None, f"select 1 from {table}") == []


@pytest.mark.parametrize("table", TABLES)
def test_another_users_rows_are_neither_changed_nor_deleted(database, alices, table):
    before = database.rows(f"select * from {table}")
    column = next(iter(before[0]))
    for statement in (f"update {table} set {column} = {column}", f"delete from {table}"):
        try:
            database.as_user(BOB, statement)
        except psycopg.errors.InsufficientPrivilege:
            # Not granted at all, as with usage, which nobody changes.
            assert table in {"budgets", "rate_limits", "turns", "usage_logs"}
    assert database.rows(f"select * from {table}") == before


@pytest.mark.parametrize("table", TABLES)
def test_a_row_cannot_be_given_to_another_user(database, alices, table):
    [row] = database.rows(f"select * from {table} limit 1")
    others = {"id": uuid4(), "user_id": BOB, "subject": f"user:{BOB}"}
    row |= {column: value for column, value in others.items() if column in row}
    row.pop("active_at", None)  # generated
    if table == "turns":
        row["conversation_id"] = uuid4()
    columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
    row = {name: Jsonb(v) if isinstance(v, dict) else v for name, v in row.items()}
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        database.as_user(ALICE, f"insert into {table} ({columns}) values ({values})", list(row.values()))


def test_a_message_cannot_be_put_into_another_users_conversation(database, alices):
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.as_user(
            BOB,
            "insert into messages (id, conversation_id, user_id, role, content)"
            " values (%s, %s, %s, 'user', 'x')",
            (uuid4(), alices, BOB),
        )


def test_a_connection_used_by_one_user_and_then_by_nobody_sees_nothing(database, alices):
    with psycopg.connect(database.url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("select set_config('app.user_id', %s, true)", (str(ALICE),))
            assert connection.execute("select id from conversations").fetchall() == [(alices,)]
        assert connection.execute("select id from conversations").fetchall() == []


def test_functions_are_for_the_app_alone_and_run_with_its_own_rights(database):
    [row] = database.rows("select has_schema_privilege('public', 'app', 'usage') as everybody")
    assert not row["everybody"]
    functions = database.rows(
        "select proname, prosecdef, proconfig from pg_proc where pronamespace = 'app'::regnamespace"
    )
    # A path that a caller could set would make our functions call somebody else's.
    assert [f["proname"] for f in functions if 'search_path=""' not in (f["proconfig"] or [])] == []
    with_the_owners_rights = {f["proname"] for f in functions if f["prosecdef"]}
    assert with_the_owners_rights == {
        "find_messages",
        "sweep_rate_limits",
        "transfer_ownership",
        "users_with_expired_turns",
    }
