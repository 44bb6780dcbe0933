"""Applies the migrations of this folder, in order and each once: `make migrate`.

Each file runs in a transaction of its own, under one advisory lock, and is written down with its
SHA-256. A file that was edited after it was applied, that is missing, or that comes before one
already applied, is refused: what has happened to a database does not change.
"""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg.conninfo import make_conninfo

from shared.environment import Environment
from shared.errors import Unavailable
from shared.settings import ConfigError, database_credentials

_FOLDER = Path(__file__).parent
_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
# Any number will do, so long as nothing else in the database takes the same advisory lock.
_LOCK = 7_362_170_431


class MigrationError(Exception):
    """The folder and the database disagree; the sentence names the file."""


class DatabaseAhead(MigrationError):
    """All files are applied, and others after them: the files are of an older version."""


class Migration(Struct, frozen=True):
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Path = _FOLDER) -> list[Migration]:
    """The folder's migrations, in order. Raises MigrationError for a name or number out of line."""
    migrations = [Migration(path.name, path.read_text("utf-8")) for path in sorted(folder.glob("*.sql"))]
    for number, migration in enumerate(migrations, start=1):
        if not _NAME.fullmatch(migration.name) or int(migration.name[:4]) != number:
            raise MigrationError(f"{migration.name}: expected a file named {number:04}_verb_object.sql here")
    return migrations


def apply(database_url: str, migrations: Iterable[Migration] | None = None) -> list[str]:
    """Brings the database up to date, as its owner, and returns the names that were applied now.

    Safe to run from several places at once. Raises MigrationError, with everything before the
    refused file applied and nothing of it; psycopg.Error as the database says it.
    """
    migrations = load() if migrations is None else list(migrations)
    applied_now = []
    with psycopg.connect(database_url, autocommit=True, connect_timeout=30) as connection:
        for position, migration in enumerate(migrations):
            with connection.transaction():
                done = _history(connection)
                _compare(done, migrations)
                if position < len(done):
                    continue
                connection.execute(migration.sql.encode())
                connection.execute(
                    "insert into public.schema_migrations (name, checksum) values (%s, %s)",
                    (migration.name, migration.checksum),
                )
            applied_now.append(migration.name)
    return applied_now


def lock(connection: psycopg.Connection) -> None:
    """Keeps others who migrate out until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))


def _history(connection: psycopg.Connection) -> list[tuple[str, str]]:
    lock(connection)
    connection.execute("set local client_min_messages = warning")
    connection.execute(
        "create table if not exists public.schema_migrations ("
        " name text primary key,"
        " checksum text not null,"
        " applied_at timestamptz not null default clock_timestamp())"
    )
    rows = connection.execute("select name, checksum from public.schema_migrations order by name")
    return [(name, checksum) for name, checksum in rows]


def _compare(done: list[tuple[str, str]], migrations: list[Migration]) -> None:
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
            raise MigrationError(f"{name}: edited after it was applied; write a new migration instead")


def connection(environ: Mapping[str, str]) -> str:
    """The owner's connection by the settings that begin with MIGRATION_DATABASE. Raises ConfigError, and
    Unavailable when its secret cannot be read."""
    login = database_credentials(Environment(environ), "MIGRATION_DATABASE")
    return make_conninfo(**login.connect_args(asyncio.run(login.password())))


def main() -> int:
    try:
        applied = apply(connection(os.environ))
    except (ConfigError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"applied {name}" for name in applied) or "up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
