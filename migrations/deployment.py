"""Prepares the database of a deployment: applies the migrations, and sets the login of chat_app."""

from collections.abc import Mapping
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrations import migrate, roles
from migrations.files import Files, MigrationError
from migrations.migrate import DatabaseAhead
from shared.database_schemas import DatabaseSchemas


class MigrationReport(Struct, frozen=True):
    """`applied`: the files that were applied. `ahead`: the database has a later version than these files."""

    applied: list[str]
    ahead: bool = False


def bring_up_to_date(
    owner: Mapping[str, Any],
    login: Mapping[str, Any] | None,
    source: Files | None = None,
    *,
    schemas: DatabaseSchemas | None = None,
) -> MigrationReport:
    """`owner` and `login` are libpq parameters. If `login` is None, chat_app logs in by IAM.

    Raises MigrationError. For an error of Postgres it contains only the SQLSTATE, because the message may
    quote rows.
    """
    url = make_conninfo(**owner)
    try:
        report = _migrate(url, source, schemas)
        if login is None:
            roles.set_iam_login(url)
        else:
            params = conninfo_to_dict(make_conninfo(**login))
            roles.set_password_login(url, str(params.get("user", "")), str(params.get("password", "")))
    except psycopg.Error as error:
        raise MigrationError(f"{type(error).__name__}, SQLSTATE {error.sqlstate}") from error
    return report


def _migrate(url: str, source: Files | None, schemas: DatabaseSchemas | None) -> MigrationReport:
    try:
        result = migrate.apply(url, source, schemas=schemas)
    except DatabaseAhead:
        # A rollback: an older version is deployed again. It works with the newer tables and functions,
        # because migrations only add.
        return MigrationReport([], ahead=True)
    return MigrationReport(result.files, ahead=bool(result.newer))
