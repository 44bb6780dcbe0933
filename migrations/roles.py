"""How chat_app logs in, which no migration says: by a password, or by IAM. Run by the owner."""

import psycopg
from psycopg import sql

from migrations.migrate import MigrationError, lock

_ROLE = "chat_app"
# RDS's own role: whoever is in it logs in with a token of IAM, and can no longer with a password.
_BY_TOKEN = "rds_iam"  # noqa: S105 (a role's name)


def log_in_by_password(database_url: str, user: str, password: str) -> None:
    """Raises MigrationError for a user other than chat_app; psycopg.Error as the database says it."""
    if user != _ROLE:
        raise MigrationError(f"the secret is for the user {user}; the functions log in as {_ROLE}")
    if not password:
        raise MigrationError(f"there is no password for {_ROLE} to log in by")
    with psycopg.connect(database_url, connect_timeout=30) as connection:
        lock(connection)
        # Hashed here, so that the password itself is in no statement that could be logged.
        verifier = connection.pgconn.encrypt_password(password.encode(), _ROLE.encode(), b"scram-sha-256")
        if _exists(connection, _BY_TOKEN):
            _execute(connection, "revoke {by_token} from {role}")
        _execute(connection, "alter role {role} password {verifier}", verifier=verifier.decode())


def log_in_by_iam(database_url: str) -> None:
    """Raises MigrationError where Postgres is not of RDS; psycopg.Error as the database says it."""
    with psycopg.connect(database_url, connect_timeout=30) as connection:
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
