"""The owner's connection to the database, which waits while a paused database starts."""

import re
import sys
import time
from collections.abc import Callable

import psycopg
from msgspec import Struct

# Aurora with 0 ACU starts in about 15 s, and in 30 s or more after a day's pause.
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 2.0
_CONNECT_SECONDS = 10

# libpq reports a failed connection without an SQLSTATE, so the text has to tell. A refused password is not
# among them: a second attempt would be refused too, and Supabase's pooler locks an address out after some.
_TEMPORARY = re.compile(
    "connection refused|timeout expired|timed out|starting up|shutting down|not yet accepting connections"
    "|closed the connection unexpectedly|connection reset|could not translate host name"
    "|network is unreachable|no route to host|the database system is in recovery mode"
    "|too many clients|remaining connection slots|server_login_retry|query_wait_timeout"
    "|server login has been failing|pgbouncer cannot connect to server",
    re.IGNORECASE,
)
# Cannot connect now, admin shutdown, crash shutdown, too many connections, and the connection exceptions that
# say that the connection was lost.
_TEMPORARY_STATES = {"57P03", "57P01", "57P02", "53300", "08000", "08001", "08003", "08006"}


class Patience(Struct, frozen=True):
    """How long to wait for a database that does not accept connections yet, and by which clock."""

    seconds: float = _PATIENCE_SECONDS
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def connect(database_url: str, patience: Patience | None = None) -> psycopg.Connection:
    """Opens a connection in autocommit mode that a transaction pooler can serve. It has run one statement,
    so that a pooler has reached the database itself.

    Tries again while the database starts. Raises psycopg.OperationalError for any other refusal at once, and
    for a database that has not started when the patience is over.
    """
    patience = patience or Patience()
    last_attempt = patience.now() + patience.seconds
    is_told = False
    while True:
        try:
            return _open(database_url)
        except psycopg.OperationalError as error:
            if not is_temporary(error) or patience.now() + _PAUSE_SECONDS > last_attempt:
                raise
            if not is_told:
                sys.stderr.write("the database does not accept connections yet; trying again\n")
                is_told = True
        patience.sleep(_PAUSE_SECONDS)


def is_temporary(error: psycopg.OperationalError) -> bool:
    """Whether a later attempt may succeed without any change."""
    return error.sqlstate in _TEMPORARY_STATES or _TEMPORARY.search(str(error)) is not None


def _open(database_url: str) -> psycopg.Connection:
    connection = psycopg.connect(
        database_url,
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        # A prepared statement belongs to one connection of the database, and a transaction pooler gives each
        # transaction another one.
        prepare_threshold=None,
    )
    try:
        connection.execute("select 1")
    except psycopg.Error:
        connection.close()
        raise
    return connection
