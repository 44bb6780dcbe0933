"""Migrations and stored functions are applied once, recorded, and refused when they do not fit."""

import threading

import psycopg
import pytest

from dev import postgres
from migrations import files, migrate
from migrations.files import Files, Migration, MigrationError, StoredFunction
from migrations.migrate import DatabaseAhead
from shared.database_schemas import DatabaseSchemas

FIRST = Migration("0001_create_one.sql", "create table $tables.one (id int)")
SECOND = Migration("0002_create_two.sql", "create table $tables.two (id int)")


COUNT_OF_FUNCTIONS = "select count(*) from pg_proc where pronamespace = 'app'::regnamespace"


@pytest.fixture
def empty(server):
    """The URL of an empty database for its owner."""
    name = "empty"
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database {name} owner {postgres.OWNER}")
        yield server.url(postgres.OWNER, name)
        connection.execute(f"drop database {name} with (force)")


def apply(url, *parts, **options):
    """Applies migrations and functions and returns the names of the files applied by this call."""
    migrations = tuple(part for part in parts if isinstance(part, Migration))
    functions = tuple(part for part in parts if isinstance(part, StoredFunction))
    return migrate.apply(url, Files(migrations, functions), **options).files


def function(name, body, *, version=1, arguments="", result="integer"):
    return StoredFunction(
        name,
        f"-- version {version}\ncreate or replace function $functions.{name}({arguments}) returns {result}"
        f" language sql as $$ {body} $$",
    )


def value(url, query):
    with psycopg.connect(url) as connection:
        [row] = connection.execute(query)
        return row[0]


def tables(url, schema="public"):
    with psycopg.connect(url) as connection:
        query = "select tablename from pg_tables where schemaname = %s order by 1"
        return [name for (name,) in connection.execute(query, (schema,))]


def test_each_migration_is_applied_once_and_in_order(empty):
    assert apply(empty, FIRST, SECOND) == ["0001_create_one.sql", "0002_create_two.sql"]
    assert apply(empty, FIRST, SECOND) == []
    assert tables(empty) == ["one", "two"]


def test_a_file_edited_after_it_was_applied_is_refused(empty):
    apply(empty, FIRST)
    edited = Migration(FIRST.name, FIRST.sql + " -- better")
    with pytest.raises(MigrationError, match=r"0001_create_one\.sql: edited"):
        apply(empty, edited, SECOND)
    assert tables(empty) == ["one"]


def test_a_file_that_comes_before_one_applied_is_refused(empty):
    apply(empty, FIRST)
    earlier = Migration("0000_create_zero.sql", "create table zero (id int)")
    with pytest.raises(MigrationError, match=r"0000_create_zero\.sql: comes before"):
        apply(empty, earlier, FIRST)


def test_a_database_with_later_migrations_is_refused(empty):
    apply(empty, FIRST, SECOND)
    with pytest.raises(DatabaseAhead, match=r"0002_create_two\.sql: applied"):
        apply(empty, FIRST)


def test_a_migration_that_fails_changes_nothing(empty):
    broken = Migration("0002_break.sql", "create table two (id int); select 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        apply(empty, FIRST, broken)
    assert tables(empty) == ["one"]
    assert apply(empty, FIRST, SECOND) == ["0002_create_two.sql"]


def test_parallel_deployments_apply_each_migration_once(empty):
    applied, failed = [], []

    def deploy():
        try:
            applied.extend(apply(empty, FIRST, SECOND))
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=deploy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(applied) == ["0001_create_one.sql", "0002_create_two.sql"]


def test_a_missing_number_is_refused(tmp_path):
    (tmp_path / "0001_create_one.sql").write_text("select 1")
    (tmp_path / "0003_create_three.sql").write_text("select 1")
    with pytest.raises(MigrationError, match=r"0003_create_three\.sql: expected a file named 0002"):
        files.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("create or replace function $functions.one() ...", "the first line must be '-- version 1'"),
        ("-- version 1\ncreate or replace function $functions.two() ...", "must create the function one"),
        ("-- version 1\ncreate function $functions.one() ...", "must create the function one"),
    ],
)
def test_a_function_file_without_a_version_or_with_another_function_is_refused(tmp_path, text, sentence):
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "one.sql").write_text(text)
    with pytest.raises(MigrationError, match=rf"functions/one\.sql: {sentence}"):
        files.load(tmp_path)


def test_changed_functions_are_applied_again_after_the_migrations(empty):
    first = function("number_of_rows", "select count(*)::integer from $tables.one")
    assert apply(empty, FIRST, first) == ["0001_create_one.sql", "functions/number_of_rows.sql"]
    assert apply(empty, FIRST, first) == []
    assert value(empty, "select app.number_of_rows()") == 0
    changed = function("number_of_rows", "select 7", version=2)
    assert apply(empty, FIRST, changed) == ["functions/number_of_rows.sql"]
    assert value(empty, "select app.number_of_rows()") == 7


def test_a_function_may_call_a_function_that_is_created_later(empty):
    first = function("a", "select $functions.b()")
    assert apply(empty, first, function("b", "select 3")) == ["functions/a.sql", "functions/b.sql"]
    assert value(empty, "select app.a()") == 3


def test_a_function_that_fails_leaves_all_functions_unchanged(empty):
    apply(empty, function("a", "select 1"), function("b", "select 1"))
    broken = StoredFunction("b", "-- version 2\ncreate or replace function $functions.b() returns nothing")
    with pytest.raises(psycopg.Error):
        apply(empty, function("a", "select 2", version=2), broken)
    assert value(empty, "select app.a()") == 1


def test_an_older_version_of_a_function_does_not_replace_a_newer_one(empty):
    older, newer = function("a", "select 1"), function("a", "select 2", version=2)
    apply(empty, newer)
    applied = migrate.apply(empty, Files((), (older,)))
    assert (applied.files, applied.newer) == ([], ["a"])
    assert value(empty, "select app.a()") == 2


def test_a_function_edited_without_a_higher_version_is_refused(empty):
    apply(empty, function("a", "select 1"))
    with pytest.raises(MigrationError, match=r"functions/a\.sql: edited without a higher version"):
        apply(empty, function("a", "select 2"))
    assert value(empty, "select app.a()") == 1


def test_a_local_database_accepts_any_change_of_a_function(empty):
    apply(empty, function("a", "select 2", version=2))
    for body in ("select 1", "select 3"):
        apply(empty, function("a", body), replaces_any_function=True)
        assert value(empty, "select app.a()") == int(body[-1])


def test_a_function_with_other_arguments_or_another_result_replaces_the_old_one(empty):
    apply(empty, function("a", "select 1"))
    apply(empty, function("a", "select n", version=2, arguments="n integer"))
    assert value(empty, "select app.a(5)") == 5
    assert value(empty, COUNT_OF_FUNCTIONS) == 1
    apply(empty, function("a", "select m::text", version=3, arguments="m integer", result="text"))
    assert value(empty, "select app.a(5)") == "5"
    assert value(empty, COUNT_OF_FUNCTIONS) == 1


def test_a_function_without_a_file_stays(empty):
    apply(empty, function("a", "select 1"))
    assert apply(empty) == []
    assert value(empty, "select app.a()") == 1


def test_a_function_that_was_dropped_is_created_again(empty):
    apply(empty, function("a", "select 1"))
    with psycopg.connect(empty) as connection:
        connection.execute("drop function app.a()")
    assert apply(empty, function("a", "select 1")) == ["functions/a.sql"]


def test_migrations_use_the_schema_names_of_the_settings(empty):
    schemas = DatabaseSchemas("coach", "coach_functions")
    apply(empty, FIRST, function("a", "select 1"), schemas=schemas)
    assert apply(empty, FIRST, function("a", "select 1"), schemas=schemas) == []
    assert (tables(empty, "coach"), tables(empty)) == (["one"], [])
    assert value(empty, "select coach_functions.a()") == 1


@pytest.mark.parametrize(
    "others",
    [DatabaseSchemas("public", "app2"), DatabaseSchemas("public2", "app"), DatabaseSchemas("x", "y")],
)
def test_other_schema_names_for_a_migrated_database_are_refused(empty, others):
    apply(empty, FIRST)
    with pytest.raises(MigrationError, match="set DATABASE_SCHEMA=public and DATABASE_FUNCTION_SCHEMA=app"):
        apply(empty, FIRST, schemas=others)
    assert tables(empty) == ["one"]


def test_a_schema_of_another_application_is_refused(empty):
    with psycopg.connect(empty) as connection:
        connection.execute("create schema app")
    with pytest.raises(MigrationError, match=r"the schema app exists .* set DATABASE_FUNCTION_SCHEMA"):
        apply(empty, FIRST)
    assert tables(empty) == []


def test_a_table_of_another_application_is_refused(empty):
    with psycopg.connect(empty) as connection:
        connection.execute("create table two (id int)")
    with pytest.raises(MigrationError, match=r"the table public\.two exists .* set DATABASE_SCHEMA"):
        apply(empty, FIRST, SECOND)
    assert tables(empty) == ["two"]
    apply(empty, FIRST, SECOND, schemas=DatabaseSchemas("chat", "app"))
    assert tables(empty, "chat") == ["one", "two"]


def create_unreleased_schema(url):
    with psycopg.connect(url) as connection:
        connection.execute("create schema app")
        connection.execute("create table public.schema_migrations (name text primary key, checksum text)")
        connection.execute("insert into public.schema_migrations values ('0001_create_app_role.sql', 'x')")


def test_a_database_of_an_unreleased_version_is_refused_with_instructions(empty):
    create_unreleased_schema(empty)
    with pytest.raises(
        MigrationError, match=r"older, unreleased version: run make reset .* docs/carry-over\.md"
    ):
        migrate.apply(empty)
    assert migrate.apply(empty, schemas=DatabaseSchemas("chat", "chat_functions")).files


def test_a_table_schema_migrations_of_another_tool_is_allowed(empty):
    with psycopg.connect(empty) as connection:
        connection.execute("create table public.schema_migrations (version text)")
    assert apply(empty, FIRST) == [FIRST.name]


def test_neither_the_app_nor_the_roles_of_an_api_can_access_the_bookkeeping(server, empty):
    with psycopg.connect(server.url("postgres", "empty"), autocommit=True) as connection:
        connection.execute("create role anon")
        # Older projects of Supabase have these default privileges.
        connection.execute(
            "alter default privileges for role chat_owner grant all on schemas to anon, public"
        )
        connection.execute("alter default privileges for role chat_owner grant all on tables to anon, public")
    try:
        migrate.apply(empty)
        rights = value(
            empty,
            "select count(*) from unnest(array['anon', 'chat_app']) as role,"
            " unnest(array['schema_migrations', 'stored_functions', 'serverless_chat_schemas']) as t,"
            " unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as right_"
            " where has_table_privilege(role, 'app.' || t, right_)",
        )
        assert rights == 0
        assert not value(empty, "select has_schema_privilege('anon', 'app', 'usage')")
    finally:
        with psycopg.connect(server.url("postgres", "empty"), autocommit=True) as connection:
            connection.execute("drop owned by anon")
            connection.execute("drop role anon")


def test_the_migrations_of_this_project_work_on_postgres_16(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg16")
    older = postgres.start(folder / "data", version=16)
    try:
        migrate.apply(older.url(postgres.OWNER))
        assert "messages" in tables(older.url(postgres.OWNER))
    finally:
        older.stop()
