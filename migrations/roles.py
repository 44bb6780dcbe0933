"""Gives chat_app its login, which no migration does: a password, or IAM. Run by the owner."""

import psycopg
from psycopg import sql

from migrations.connection import connect
from migrations.files import MigrationError
from migrations.migrate import lock

_ROLE = "chat_app"
# A role of RDS: its members log in with a token of IAM, and no longer with a password.
_BY_TOKEN = "rds_iam"  # noqa: S105 (a role's name)


def log_in_by_password(database_url: str, user: str, password: str) -> None:
    """Raises MigrationError for a user other than chat_app; psycopg.Error as the database reports it."""
    if user != _ROLE:
        raise MigrationError(f"the secret is for the user {user}; the functions log in as {_ROLE}")
    if not password:
        raise MigrationError(f"there is no password for {_ROLE} to log in by")
    with connect(database_url) as connection, connection.transaction():
        lock(connection)
        # Hashed here, so that no statement in a log contains the password.
        verifier = connection.pgconn.encrypt_password(password.encode(), _ROLE.encode(), b"scram-sha-256")
        if _exists(connection, _BY_TOKEN):
            _execute(connection, "revoke {by_token} from {role}")
        _execute(connection, "alter role {role} password {verifier}", verifier=verifier.decode())


def log_in_by_iam(database_url: str) -> None:
    """Raises MigrationError for a Postgres that is not of RDS; psycopg.Error as the database reports it."""
    with connect(database_url) as connection, connection.transaction():
        lock(connection)
        if not _exists(connection, _BY_TOKEN):
            raise MigrationError("this database knows no IAM authentication; choose a password")
        _execute(connection, "grant {by_token} to {role}")
        _execute(connection, "alter role {role} password null")


def _exists(connection: psycopg.Connection, role: str) -> bool:
    return connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is not None


def _execute(connection: psycopg.Connection, statement: str, *, verifier: str = "") -> None:
    """Statements about roles take no parameters."""
    named = {
        "role": sql.Identifier(_ROLE),
        "by_token": sql.Identifier(_BY_TOKEN),
        "verifier": sql.Literal(verifier),
    }
    connection.execute(sql.SQL(statement).format(**named))
