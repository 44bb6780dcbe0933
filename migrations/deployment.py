"""What a deployment needs of its database: the schema of its version, and chat_app able to log in."""

from collections.abc import Mapping
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrations import migrate, roles
from migrations.migrate import DatabaseAhead, Migration, MigrationError


class Done(Struct, frozen=True):
    """The migrations applied now; `ahead` where the database has later ones than these files."""

    applied: list[str]
    ahead: bool = False


def bring_up_to_date(
    owner: Mapping[str, Any], login: Mapping[str, Any] | None, migrations: list[Migration] | None = None
) -> Done:
    """`owner` and `login` are libpq's parameters; without a `login`, chat_app logs in by IAM.

    Raises MigrationError. Of what Postgres says it passes on the code alone, as it may quote rows.
    """
    url = make_conninfo(**owner)
    try:
        done = _migrate(url, migrations)
        if login is None:
            roles.log_in_by_iam(url)
        else:
            named = conninfo_to_dict(make_conninfo(**login))
            roles.log_in_by_password(url, str(named.get("user", "")), str(named.get("password", "")))
    except psycopg.Error as error:
        raise MigrationError(f"{type(error).__name__}, SQLSTATE {error.sqlstate}") from error
    return done


def _migrate(url: str, migrations: list[Migration] | None) -> Done:
    try:
        return Done(migrate.apply(url, migrations))
    except DatabaseAhead:
        # An older version is being brought back. It ran beside these migrations before.
        return Done([], ahead=True)
