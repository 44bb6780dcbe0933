"""Rules for all stored functions: the recorded calls, the signatures, and the SQL of the bodies."""

import json
import re
from pathlib import Path
from uuid import UUID

import psycopg

from dev.local import ROOT
from migrations import files
from shared.database_schemas import DatabaseSchemas

RECORD = Path(__file__).with_name("calls.sql").read_text("utf-8")
# Pairs of the expected result and the call below it.
CALLS = re.findall(r"^-- ([^\n]+)\n(select .+?);\n", RECORD, re.MULTILINE | re.DOTALL)
FUNCTIONS = files.load().functions
SCHEMAS = DatabaseSchemas()


def called_in(text, schema):
    return set(re.findall(rf"{schema}\.([a-z_0-9]+)\(", text))


def test_the_functions_return_the_recorded_results(database):
    for recorded, call in CALLS:
        expected = json.loads(recorded)
        with psycopg.connect(database.url, autocommit=True) as connection:
            row = connection.execute(call).fetchone()
        result = None if row is None else row[0]
        if isinstance(expected, dict):
            assert result is not None, call
            document = json.loads(result) if isinstance(result, str) else result
            result = {name: document[name] for name in expected}
        elif isinstance(result, UUID):
            result = str(result)
        assert result == expected, call


def test_the_record_has_exactly_the_functions_that_the_code_calls():
    sources = [path for folder in ("functions", "shared") for path in sorted((ROOT / folder).rglob("*.py"))]
    called = called_in("".join(path.read_text("utf-8") for path in sources), r"\$functions")
    assert called_in(RECORD, "app") == called
    assert len(CALLS) == RECORD.count("\nselect ")


def test_a_function_that_the_code_calls_takes_one_jsonb_argument_or_none(database):
    rows = database.rows(
        "select proname, pg_get_function_identity_arguments(oid) as arguments from pg_proc"
        " where pronamespace = 'app'::regnamespace"
    )
    called = called_in(RECORD, "app")
    assert {row["arguments"] for row in rows if row["proname"] in called} <= {"p_request jsonb", ""}


def test_each_function_has_one_signature(database):
    rows = database.rows(
        "select proname from pg_proc where pronamespace = 'app'::regnamespace"
        " group by proname having count(*) > 1"
    )
    assert rows == []


def test_the_bodies_pass_the_check_of_postgres(database):
    """The migration creates the functions without this check, because they call each other."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set check_function_bodies = on")
        for function in FUNCTIONS:
            connection.execute(SCHEMAS.fill(function.sql))
        connection.rollback()


# Postgres checks the names in a PL/pgSQL body when a statement runs. The recorded calls and the tests of
# turns run the statements that this test does not reach.
def test_a_call_with_nulls_finds_every_name(database):
    name_errors = {"42601", "42703", "42883", "42P01", "42P02", "42704", "42702"}
    unresolved = []
    for function in FUNCTIONS:
        query = "select pronargs, prorettype::regtype::text as result from pg_proc where proname = %s"
        [row] = database.rows(f"{query} and pronamespace = 'app'::regnamespace", (function.name,))
        arguments = ", ".join(["null"] * row["pronargs"])
        try:
            database.as_user(None, f"select app.{function.name}({arguments})")
        except psycopg.Error as error:
            if error.sqlstate in name_errors and row["result"] != "trigger":
                unresolved.append((function.name, str(error)))
    assert unresolved == []


def test_sql_names_schemas_only_by_placeholders():
    source = files.load()
    for file in (*source.migrations, *source.functions):
        code = re.sub(r"--.*|'app\.[a-z_]+'", "", file.sql)
        assert not re.search(r"\b(public|app)\.", code), file.name
