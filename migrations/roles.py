"""Sets the login of the role chat_app: a password, or IAM. Migrations do not set it."""

import psycopg
from psycopg import sql

from migrations.connection import connect
from migrations.files import MigrationError
from migrations.migrate import lock

_ROLE = "chat_app"
# A role of RDS. Its members log in with IAM tokens and cannot log in with a password.
_IAM_ROLE = "rds_iam"


def set_password_login(database_url: str, user: str, password: str) -> None:
    """Sets the password, as the owner. Raises psycopg.Error, and MigrationError for a user other than
    chat_app."""
    if user != _ROLE:
        raise MigrationError(f"the secret is for the user {user}; the functions log in as {_ROLE}")
    if not password:
        raise MigrationError(f"no password is set for {_ROLE}")
    with connect(database_url) as connection, connection.transaction():
        lock(connection)
        # The password is hashed here, so that no logged statement contains it.
        verifier = connection.pgconn.encrypt_password(password.encode(), _ROLE.encode(), b"scram-sha-256")
        if _exists(connection, _IAM_ROLE):
            _execute(connection, "revoke {iam_role} from {role}")
        _execute(connection, "alter role {role} password {verifier}", verifier=verifier.decode())


def set_iam_login(database_url: str) -> None:
    """Allows login by IAM, as the owner. Raises psycopg.Error, and MigrationError if the database is not on
    RDS."""
    with connect(database_url) as connection, connection.transaction():
        lock(connection)
        if not _exists(connection, _IAM_ROLE):
            raise MigrationError("this database does not support IAM authentication; use a password")
        _execute(connection, "grant {iam_role} to {role}")
        _execute(connection, "alter role {role} password null")


def _exists(connection: psycopg.Connection, role: str) -> bool:
    return connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is not None


def _execute(connection: psycopg.Connection, statement: str, *, verifier: str = "") -> None:
    """Runs a statement with the values in its text, because statements about roles take no parameters."""
    values = {
        "role": sql.Identifier(_ROLE),
        "iam_role": sql.Identifier(_IAM_ROLE),
        "verifier": sql.Literal(verifier),
    }
    connection.execute(sql.SQL(statement).format(**values))
