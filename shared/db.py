"""A pool of connections to Postgres. Each call has a time limit and takes one round trip.

Each call is one transaction, which ends before the call returns: no connection is in use while a model
streams. The SQL is in the functions' `store.py`.
"""

import asyncio
import contextlib
import select
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, scalar_row

from shared.database_schemas import DatabaseSchemas
from shared.db_credentials import DatabaseCredentials
from shared.errors import Unavailable
from shared.logs import logger
from shared.metrics import with_metrics
from shared.settings import Settings
from shared.warmup import WarmUp

Row: TypeAlias = dict[str, Any]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
T = TypeVar("T")

# A connection that was idle for longer is not used again: the function may have been frozen, and network
# devices drop silent connections (NAT gateways after 350 s) without telling either end.
_KEEP_ALIVE_SECONDS = 60.0
# The time that Postgres has to confirm a cancel. After it the connection is closed.
_CANCEL_SECONDS = 0.2
_ATTEMPTS = 3
# After a serialization failure or a deadlock nothing was committed, so the transaction is tried again.
_CONTENTION = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


class Database:
    """A small pool. `timeout` is the time limit of a call in seconds. It includes the wait for a connection.

    A statement may run twice, if the connection is lost before the reply arrives. So statements must be safe
    to repeat: ids are made by the caller and inserts use `on conflict`. Statements contain the placeholders
    `$tables` and `$functions` for the names of the `schemas`. `now` is wall-clock time, because a monotonic
    clock may stand still while a function is frozen.
    """

    def __init__(
        self,
        credentials: DatabaseCredentials,
        *,
        schemas: DatabaseSchemas | None = None,
        max_connections: int = 10,
        timeout: float = 2.5,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._schemas = schemas or DatabaseSchemas()
        self._statements: dict[str, bytes] = {}
        self._timeout = timeout
        self._now = now
        self._idle: list[tuple[Connection, float]] = []
        self._slots = asyncio.Semaphore(max_connections)
        self._warm_up: WarmUp | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Database":
        return cls(
            settings.database,
            schemas=settings.database_schemas,
            max_connections=settings.database_connections,
        )

    def warm_up(self) -> WarmUp:
        """Starts to open a connection. The first call waits for it."""
        self._warm_up = WarmUp("database", self._open_idle_connection, now=self._now)
        return self._warm_up

    async def call(self, query: str, params: Sequence[Any] = (), *, within: float | None = None) -> Any:
        """The first column of the first row, or None. For stored functions, which set the user themselves.

        `within` is a time limit in seconds that is shorter than `timeout`. Raises Unavailable.
        """

        async def work(connection: Connection) -> Any:
            cursor = connection.cursor(row_factory=scalar_row)
            return await (await cursor.execute(self._statement(query), params)).fetchone()

        return await self._run(work, min(self._timeout, within or self._timeout))

    async def fetch(self, user_id: UUID, query: str, params: Sequence[Any] = ()) -> list[Row]:
        """All rows, with the row-level security of one user. Raises Unavailable.

        Both statements are sent together in one pipeline. A pipeline without a sync between its statements
        is one transaction, and the user's id is set until its end.
        """

        async def work(connection: Connection) -> list[Row]:
            async with connection.pipeline():
                begin_request = self._statement("select $functions.begin_request(%s)")
                await connection.execute(begin_request, (json_argument({"user_id": user_id}),))
                cursor = await connection.execute(self._statement(query), params)
            return await cursor.fetchall()

        return await self._run(work, self._timeout)

    def _statement(self, query: str) -> bytes:
        """The query with the names of the schemas. Cached."""
        statement = self._statements.get(query)
        if statement is None:
            statement = self._statements[query] = self._schemas.fill(query).encode()
        return statement

    async def close(self) -> None:
        if self._warm_up is not None:
            await self._warm_up.close()
        while self._idle:
            await self._idle.pop()[0].close()

    async def _run(self, work: Callable[[Connection], Awaitable[T]], within: float) -> T:
        task = asyncio.ensure_future(self._run_with_retries(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=within)
        except asyncio.CancelledError:
            await _cancel(task)
            raise
        if not done:
            await _cancel(task)
            logger.error("database did not answer in time", **with_metrics(seconds=within, database_errors=1))
            raise Unavailable("the database did not answer in time")
        return task.result()

    async def _run_with_retries(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._slots:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    connection = await self._acquire()
                    try:
                        return await work(connection)
                    finally:
                        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
                            self._idle.append((connection, self._now()))
                        else:
                            connection.pgconn.finish()
                except _CONTENTION:
                    if attempt == _ATTEMPTS:
                        logger.exception(
                            "database transaction had too many conflicts",
                            **with_metrics(database_errors=1),
                        )
                        raise Unavailable("the database is too busy") from None
                except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
                    self._handle_lost_connection(error, attempt)
                    await asyncio.sleep(0.05 * attempt)
        raise AssertionError

    async def _acquire(self) -> Connection:
        if self._warm_up is not None:
            await self._warm_up.wait()
            self._warm_up = None
        while self._idle:
            connection, since = self._idle.pop()
            if self._now() - since <= _KEEP_ALIVE_SECONDS and _is_open(connection):
                return connection
            connection.pgconn.finish()
        return await self._connect()

    async def _connect(self) -> Connection:
        password = await self._credentials.password()
        try:
            return await self._open(password)
        except psycopg.OperationalError as error:
            # libpq gives no SQLSTATE for a failed connection; it only says whether a password was used. If
            # the password was not the cause, the secret is read once for nothing.
            if error.pgconn is None or not error.pgconn.used_password:
                raise
            replacement = await self._credentials.replacement_for(password)
            if replacement is None:
                logger.exception("database login refused", **with_metrics(database_errors=1))
                raise Unavailable("the database cannot be reached") from error
            logger.warning("database login refused; trying another version of the password")
        return await self._open(replacement)

    async def _open(self, password: str | None) -> Connection:
        return await psycopg.AsyncConnection.connect(
            **self._credentials.connect_args(password),
            autocommit=True,
            prepare_threshold=None,  # RDS Proxy pins a connection with prepared statements.
            row_factory=dict_row,
            application_name="serverless-chat",
        )

    async def _open_idle_connection(self) -> None:
        self._idle.append((await self._connect(), self._now()))

    def _handle_lost_connection(self, error: psycopg.Error, attempt: int) -> None:
        """Closes the idle connections: after a failover or a restart they are lost too. Raises Unavailable
        after the last attempt, or if the error is not about the connection."""
        while self._idle:
            self._idle.pop()[0].pgconn.finish()
        logger.warning(
            "database connection lost",
            **with_metrics(attempt=attempt, sqlstate=error.sqlstate, database_errors=1),
        )
        # Classes 08 and 57 (shutdown, terminated) are about the connection. 25006 (read-only) comes from a
        # server that was the primary before a failover. Other codes are about the query: a retry fails again.
        is_lost = error.sqlstate is None or error.sqlstate[:2] in {"08", "57", "25"}
        if attempt == _ATTEMPTS or not is_lost:
            raise Unavailable("the database cannot be reached") from error


def json_argument(request: Any) -> str:
    """The argument of a stored function: JSON with ids and times as text, and money as a decimal string."""
    return msgspec.json.encode(request).decode()


def _is_open(connection: Connection) -> bool:
    """False if this end has received the server's close of an idle connection."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    try:
        while poll.poll(0):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Ends a query whose result is not needed. The first cancel asks Postgres to stop. If Postgres does not
    answer, the second makes psycopg close the connection."""
    for _ in range(2):
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        if task.done():
            break
    with contextlib.suppress(BaseException):
        task.exception()
