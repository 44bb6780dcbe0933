"""Applies the migrations of this folder: `make migrate`.

Numbered files are applied once and in order, each in its own transaction. Then the changed files of
`functions` are applied in one transaction. Each transaction holds an advisory lock until it ends, so that
several processes can migrate at the same time, also through a transaction pooler. Tables in the schema of the
functions record each applied file with its SHA-256.
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrations import files
from migrations.connection import Patience, connect
from migrations.files import Files, Migration, MigrationError, StoredFunction
from shared.database_schemas import DatabaseSchemas
from shared.database_settings import database_credentials, database_schemas
from shared.environment import ConfigError, Environment
from shared.errors import Unavailable

# The key of the advisory lock: an arbitrary number that other applications are unlikely to use.
_LOCK = 7_362_170_431
# The number of attempts to lock a table, and how long each attempt waits.
_LOCK_ATTEMPTS = 10
_LOCK_SECONDS = 2
# The roles of Supabase's API. Older projects of Supabase grant them everything on new tables.
_API_ROLES = ("anon", "authenticated", "service_role")
# The first migration of the unreleased versions. They recorded it in public.schema_migrations.
_UNRELEASED = "0001_create_app_role.sql"


class DatabaseAhead(MigrationError):
    """The database has all of these migrations and later ones: the files are from an older version."""


class ApplyResult(Struct, frozen=True):
    """`files`: the files that were applied. `newer`: the functions that were not applied, because the
    database has newer versions of them."""

    files: list[str]
    newer: list[str]


def apply(
    database_url: str,
    source: Files | None = None,
    *,
    schemas: DatabaseSchemas | None = None,
    patience: Patience | None = None,
    replaces_any_function: bool = False,
) -> ApplyResult:
    """Brings the database up to date, as its owner. Several processes can do this at the same time.

    `replaces_any_function` applies each changed function without a look at its version. It is for local
    databases, because their checkouts change often. Raises MigrationError and psycopg.Error. The file that
    fails is not applied at all; the files before it stay applied.
    """
    source = source or files.load()
    schemas = schemas or DatabaseSchemas()
    with connect(database_url, patience) as connection:
        _prepare(connection, source, schemas)
        applied = _apply_migrations(connection, source.migrations, schemas)
        functions = _apply_functions_with_retries(
            connection, source.functions, schemas, replaces_any=replaces_any_function
        )
    return ApplyResult([*applied, *functions.files], functions.newer)


def lock(connection: psycopg.Connection) -> None:
    """Makes other migrations wait until this transaction ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    # Building an index on a large table takes longer than Supabase's statement timeout.
    connection.execute("set local statement_timeout = 0")


def _prepare(connection: psycopg.Connection, source: Files, schemas: DatabaseSchemas) -> None:
    """Refuses a database of another version or application. Creates the schemas and the record of migrations
    in a new database."""
    with connection.transaction():
        lock(connection)
        _refuse_unreleased(connection, schemas)
        recorded = _recorded_schemas(connection)
        if recorded == schemas:
            return
        if recorded is not None:
            raise MigrationError(
                f"this database has its tables in the schema {recorded.tables} and its functions in"
                f" {recorded.functions}: set DATABASE_SCHEMA={recorded.tables} and"
                f" DATABASE_FUNCTION_SCHEMA={recorded.functions}"
            )
        _refuse_foreign(connection, source, schemas)
        _create_record(connection, schemas)


def _refuse_unreleased(connection: psycopg.Connection, schemas: DatabaseSchemas) -> None:
    """Refuses a database of an unreleased version. These versions used the schemas public and app, so other
    schemas in the same database are allowed."""
    if schemas.tables != "public" and schemas.functions != "app":
        return
    is_ours = connection.execute(
        "select from information_schema.columns where table_schema = 'public'"
        " and table_name = 'schema_migrations' and column_name = 'checksum'"
    ).fetchone()
    if is_ours is None:
        return
    query = "select from public.schema_migrations where name = %s"
    if connection.execute(query, (_UNRELEASED,)).fetchone() is not None:
        raise MigrationError(
            "this database was made by an older, unreleased version: run make reset for a local database,"
            " or see docs/carry-over.md"
        )


def _recorded_schemas(connection: psycopg.Connection) -> DatabaseSchemas | None:
    """Returns the schema names that this database was migrated with. None for a new database."""
    found = connection.execute(
        "select n.nspname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
        " where c.relname = 'serverless_chat_schemas' and has_table_privilege(c.oid, 'select')"
    ).fetchone()
    if found is None:
        return None
    query = sql.SQL("select tables, functions from {}").format(
        sql.Identifier(found[0], "serverless_chat_schemas")
    )
    row = connection.execute(query).fetchone()
    return None if row is None else DatabaseSchemas(*row)


def _refuse_foreign(connection: psycopg.Connection, source: Files, schemas: DatabaseSchemas) -> None:
    """Refuses a database in which another application uses the same names."""
    if _has_schema(connection, schemas.functions):
        raise MigrationError(
            f"the schema {schemas.functions} exists and was not made by these migrations:"
            " set DATABASE_FUNCTION_SCHEMA to another name"
        )
    text = "\n".join(migration.sql for migration in source.migrations)
    tables = re.findall(r"^create table \$tables\.(\w+)", text, re.MULTILINE)
    query = "select tablename from pg_tables where schemaname = %s and tablename = any (%s) order by 1"
    if found := connection.execute(query, (schemas.tables, tables)).fetchone():
        raise MigrationError(
            f"the table {schemas.tables}.{found[0]} exists and was not made by these migrations:"
            " set DATABASE_SCHEMA to another name"
        )


def _create_record(connection: psycopg.Connection, schemas: DatabaseSchemas) -> None:
    if not _has_schema(connection, schemas.tables):
        connection.execute(schemas.fill("create schema $tables").encode())
    query = "select rolname from pg_roles where rolname = any (%s)"
    roles = [f'"{name}"' for (name,) in connection.execute(query, (list(_API_ROLES),))]
    statement = """
        create schema $functions;
        create table $functions.serverless_chat_schemas (
            tables    text not null,
            functions text not null
        );
        create table $functions.schema_migrations (
            name       text primary key,
            checksum   text not null,
            applied_at timestamptz not null default clock_timestamp()
        );
        create table $functions.stored_functions (
            name       text primary key,
            version    integer not null,
            checksum   text not null,
            applied_at timestamptz not null default clock_timestamp()
        );
    """
    for role in ("public", *roles):
        statement += f"""
            revoke all on schema $functions from {role};
            revoke all on all tables in schema $functions from {role};
        """
    connection.execute(schemas.fill(statement).encode())
    connection.execute(
        schemas.fill("insert into $functions.serverless_chat_schemas values (%s, %s)").encode(),
        (schemas.tables, schemas.functions),
    )


def _has_schema(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("select from pg_namespace where nspname = %s", (name,)).fetchone() is not None


def _apply_migrations(
    connection: psycopg.Connection, migrations: Sequence[Migration], schemas: DatabaseSchemas
) -> list[str]:
    applied = []
    query = schemas.fill("select name, checksum from $functions.schema_migrations order by name").encode()
    record = schemas.fill(
        "insert into $functions.schema_migrations (name, checksum) values (%s, %s)"
    ).encode()
    for position, migration in enumerate(migrations):
        with connection.transaction():
            lock(connection)
            done = [(name, checksum) for name, checksum in connection.execute(query)]
            _compare(done, migrations)
            if position < len(done):
                continue
            connection.execute(schemas.fill(migration.sql).encode())
            connection.execute(record, (migration.name, migration.checksum))
        applied.append(migration.name)
    return applied


def _compare(done: list[tuple[str, str]], migrations: Sequence[Migration]) -> None:
    if len(done) > len(migrations) and done[: len(migrations)] == [(m.name, m.checksum) for m in migrations]:
        raise DatabaseAhead(f"{done[len(migrations)][0]}: applied to this database, but not among the files")
    names = {migration.name for migration in migrations}
    for name, _ in done:
        if name not in names:
            raise MigrationError(f"{name}: applied to this database, but not among the files")
    for (name, checksum), migration in zip(done, migrations, strict=False):
        if name != migration.name:
            raise MigrationError(f"{migration.name}: comes before {name}, which is applied already")
        if checksum != migration.checksum:
            raise MigrationError(
                f"{name}: edited after it was applied; write a new migration instead, or run make reset for a"
                " local database"
            )


def _apply_functions_with_retries(
    connection: psycopg.Connection,
    functions: Sequence[StoredFunction],
    schemas: DatabaseSchemas,
    *,
    replaces_any: bool,
) -> ApplyResult:
    """Applies the functions, and tries again if a table is locked.

    A changed trigger locks its table. While the transaction waits for this lock, all writes of running turns
    wait behind it, so each attempt waits only a short time.
    """
    for _ in range(_LOCK_ATTEMPTS):
        try:
            return _apply_functions(connection, functions, schemas, replaces_any=replaces_any)
        except psycopg.errors.LockNotAvailable:
            continue
    raise MigrationError("a table was locked for too long: migrate again when there are fewer requests")


def _apply_functions(
    connection: psycopg.Connection,
    functions: Sequence[StoredFunction],
    schemas: DatabaseSchemas,
    *,
    replaces_any: bool,
) -> ApplyResult:
    """Applies the changed functions.

    A function whose file was removed stays, because the version in service may call it. A numbered file drops
    it two releases later.
    """
    applied = ApplyResult([], [])
    with connection.transaction():
        lock(connection)
        connection.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
        # Functions call each other, so their bodies are valid only when all functions exist.
        connection.execute("set local check_function_bodies = off")
        # A recorded function that was dropped by hand is applied again.
        rows = connection.execute(
            schemas.fill(
                "select name, version, checksum from $functions.stored_functions where name in"
                " (select proname from pg_proc where pronamespace = %s::regnamespace)"
            ).encode(),
            (f'"{schemas.functions}"',),
        )
        recorded = {name: (version, checksum) for name, version, checksum in rows}
        for function in functions:
            version, checksum = recorded.get(function.name, (0, ""))
            if function.checksum == checksum:
                continue
            if function.version < version and not replaces_any:
                applied.newer.append(function.name)
                continue
            if function.version == version and not replaces_any:
                raise MigrationError(
                    f"functions/{function.name}.sql: edited without a higher version in its first line"
                )
            _create_function(connection, function, schemas)
            applied.files.append(f"functions/{function.name}.sql")
    return applied


def _create_function(
    connection: psycopg.Connection, function: StoredFunction, schemas: DatabaseSchemas
) -> None:
    """Creates or replaces the function. Drops functions of this name with other arguments, because calls
    would be ambiguous."""
    query = (
        "select oid::regprocedure::text from pg_proc where pronamespace = %s::regnamespace and proname = %s"
    )
    params = (f'"{schemas.functions}"', function.name)
    before = {signature for (signature,) in connection.execute(query, params)}
    statement = schemas.fill(function.sql).encode()
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.errors.InvalidFunctionDefinition:
        # Postgres cannot replace a function whose result type or argument names change.
        _drop_functions(connection, before)
        connection.execute(statement)
    else:
        after = {signature for (signature,) in connection.execute(query, params)}
        if after != before:
            _drop_functions(connection, before)
    connection.execute(
        schemas.fill(
            "insert into $functions.stored_functions (name, version, checksum) values (%s, %s, %s)"
            " on conflict (name) do update"
            " set version = excluded.version, checksum = excluded.checksum, applied_at = clock_timestamp()"
        ).encode(),
        (function.name, function.version, function.checksum),
    )


def _drop_functions(connection: psycopg.Connection, signatures: set[str]) -> None:
    for signature in signatures:
        # The signature comes from Postgres, which quotes its names.
        connection.execute(f"drop function {signature}".encode())


def owner_url(environ: Mapping[str, str]) -> str:
    """Returns the owner's connection string, from the settings whose names begin with MIGRATION_DATABASE.
    Raises ConfigError, and Unavailable if the secret cannot be read."""
    credentials = database_credentials(Environment(environ), "MIGRATION_DATABASE")
    return make_conninfo(**credentials.connect_args(asyncio.run(credentials.password())))


def main() -> int:
    try:
        applied = apply(owner_url(os.environ), schemas=database_schemas(Environment(os.environ)))
    except (ConfigError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    lines = [f"applied {name}" for name in applied.files]
    lines += [f"kept {name}: the database has a newer version of this function" for name in applied.newer]
    print("\n".join(lines) or "up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
