"""Prepares the database of a deployment: the schema of its version, and a login for chat_app."""

from collections.abc import Mapping
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrations import migrate, roles
from migrations.files import Files, MigrationError
from migrations.migrate import Applied, DatabaseAhead
from shared.database_schemas import DatabaseSchemas


class Done(Struct, frozen=True):
    """The files applied now. `ahead`: the database is of a later version than these files."""

    applied: list[str]
    ahead: bool = False


def bring_up_to_date(
    owner: Mapping[str, Any],
    login: Mapping[str, Any] | None,
    source: Files | None = None,
    *,
    schemas: DatabaseSchemas | None = None,
) -> Done:
    """`owner` and `login` are libpq's parameters. Without a `login`, chat_app logs in by IAM.

    Raises MigrationError. It has only the SQLSTATE of an error of Postgres, whose text may quote rows.
    """
    url = make_conninfo(**owner)
    try:
        done = _migrate(url, source, schemas)
        if login is None:
            roles.log_in_by_iam(url)
        else:
            named = conninfo_to_dict(make_conninfo(**login))
            roles.log_in_by_password(url, str(named.get("user", "")), str(named.get("password", "")))
    except psycopg.Error as error:
        raise MigrationError(f"{type(error).__name__}, SQLSTATE {error.sqlstate}") from error
    return done


def _migrate(url: str, source: Files | None, schemas: DatabaseSchemas | None) -> Done:
    try:
        applied: Applied = migrate.apply(url, source, schemas=schemas)
    except DatabaseAhead:
        # A rollback: an older version is deployed again. It ran beside these migrations before, and newer
        # functions serve it, because the fields of a request are only added. So they stay as they are.
        return Done([], ahead=True)
    return Done(applied.files, ahead=bool(applied.newer))
