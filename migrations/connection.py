"""Opens the owner's connection to the database. Waits while a paused database starts."""

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

# libpq reports a failed connection without an SQLSTATE, so the message is compared. A refused password is not
# temporary: each attempt would be refused, and Supabase's pooler blocks an address after several of them.
_TEMPORARY = re.compile(
    "connection refused|timeout expired|timed out|starting up|shutting down|not yet accepting connections"
    "|closed the connection unexpectedly|connection reset|could not translate host name"
    "|network is unreachable|no route to host|the database system is in recovery mode"
    "|too many clients|remaining connection slots|server_login_retry|query_wait_timeout"
    "|server login has been failing|pgbouncer cannot connect to server",
    re.IGNORECASE,
)
# Cannot connect now, admin shutdown, crash shutdown, too many connections, and the connection exceptions of a
# lost connection.
_TEMPORARY_STATES = {"57P03", "57P01", "57P02", "53300", "08000", "08001", "08003", "08006"}


class Patience(Struct, frozen=True):
    """How many seconds to wait while the database does not accept connections, and the clock to use."""

    seconds: float = _PATIENCE_SECONDS
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def connect(database_url: str, patience: Patience | None = None) -> psycopg.Connection:
    """Opens a connection in autocommit mode, which also works through a transaction pooler.

    Runs one statement, because a pooler accepts connections before it reaches the database. Tries again while
    the database starts. Raises psycopg.OperationalError at once for another error, and for a database that
    has not started after `patience.seconds`.
    """
    patience = patience or Patience()
    last_attempt = patience.now() + patience.seconds
    has_warned = False
    while True:
        try:
            return _open(database_url)
        except psycopg.OperationalError as error:
            if not is_temporary(error) or patience.now() + _PAUSE_SECONDS > last_attempt:
                raise
            if not has_warned:
                sys.stderr.write("the database does not accept connections yet; trying again\n")
                has_warned = True
        patience.sleep(_PAUSE_SECONDS)


def is_temporary(error: psycopg.OperationalError) -> bool:
    """Whether a later attempt may succeed."""
    return error.sqlstate in _TEMPORARY_STATES or _TEMPORARY.search(str(error)) is not None


def _open(database_url: str) -> psycopg.Connection:
    connection = psycopg.connect(
        database_url,
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        # Without prepared statements: a transaction pooler may run each transaction on another connection of
        # the database, and a prepared statement exists on one connection only.
        prepare_threshold=None,
    )
    try:
        connection.execute("select 1")
    except psycopg.Error:
        connection.close()
        raise
    return connection
