"""Postgres: connections that outlive a freeze, a bound on every wait, and one round trip a call.

Every call is one transaction, over before it returns: nothing is held while a model streams. What
the statements say is the business of each function's `store.py`.
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
from psycopg.rows import dict_row, scalar_row

from shared.database_schemas import DatabaseSchemas
from shared.db_credentials import DatabaseCredentials
from shared.errors import Unavailable
from shared.logs import logger
from shared.metrics import measured
from shared.warmup import WarmUp

Row: TypeAlias = dict[str, Any]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
T = TypeVar("T")

# Idle for longer than this, a connection is not trusted: a function may have been frozen meanwhile,
# and network gear forgets silent connections (NAT gateways after 350 s) without telling either end.
_TRUSTED_IDLE_SECONDS = 60.0
# How long Postgres is given to confirm a cancel before the connection is closed under it.
_CANCEL_SECONDS = 0.2
_ATTEMPTS = 3
# Worth another attempt, as the transaction did not happen: serialization failure and deadlock.
_CONTENTION = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


class Database:
    """A small pool. `timeout` bounds a whole call in seconds, waiting for a connection included.

    A statement may run twice, if the connection is lost before the answer arrives: it must be safe
    to repeat, which ids made by the caller and `on conflict` give. Statements name the `schemas` by the
    placeholders `$tables` and `$functions`. `now` is the wall clock; a
    monotonic one may stand still while a function is frozen.
    """

    def __init__(
        self,
        login: DatabaseCredentials,
        *,
        schemas: DatabaseSchemas | None = None,
        max_connections: int = 10,
        timeout: float = 2.5,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._login = login
        self._schemas = schemas or DatabaseSchemas()
        self._timeout = timeout
        self._now = now
        self._idle: list[tuple[Connection, float]] = []
        self._free = asyncio.Semaphore(max_connections)
        self._ahead: WarmUp | None = None

    def warm_up(self) -> WarmUp:
        """Begins a connection for the first call, which will wait for it."""
        self._ahead = WarmUp("database", self._open_one, now=self._now)
        return self._ahead

    async def call(self, query: str, params: Sequence[Any] = (), *, within: float | None = None) -> Any:
        """The first column of the first row, or None. For functions that act as a user by themselves.

        `within` so many seconds, where less than the pool's own are left.
        """

        async def work(connection: Connection) -> Any:
            cursor = connection.cursor(row_factory=scalar_row)
            return await (await cursor.execute(self._schemas.fill(query).encode(), params)).fetchone()

        return await self._run(work, min(self._timeout, within or self._timeout))

    async def fetch(self, user_id: UUID, query: str, params: Sequence[Any] = ()) -> list[Row]:
        """All rows, acting as one user.

        Both statements go out together, and what lies between two syncs of a pipeline is one
        transaction, so the user's id is gone when it ends.
        """
        begin_request = self._schemas.fill("select $functions.begin_request(%s)").encode()

        async def work(connection: Connection) -> list[Row]:
            async with connection.pipeline():
                await connection.execute(begin_request, (json_argument({"user_id": user_id}),))
                cursor = await connection.execute(self._schemas.fill(query).encode(), params)
            return await cursor.fetchall()

        return await self._run(work, self._timeout)

    async def close(self) -> None:
        if self._ahead is not None:
            await self._ahead.close()
        while self._idle:
            await self._idle.pop()[0].close()

    async def _run(self, work: Callable[[Connection], Awaitable[T]], within: float) -> T:
        task = asyncio.ensure_future(self._attempt(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=within)
        except asyncio.CancelledError:
            await _abandon(task)
            raise
        if not done:
            await _abandon(task)
            logger.error("database did not answer in time", **measured(seconds=within, database_errors=1))
            raise Unavailable("the database did not answer in time")
        return task.result()

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._free:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    connection = await self._acquire()
                    try:
                        return await work(connection)
                    finally:
                        await self._release(connection)
                except _CONTENTION:
                    if attempt == _ATTEMPTS:
                        logger.exception("database transaction kept colliding", **measured(database_errors=1))
                        raise Unavailable("the database is too busy") from None
                except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
                    # A query that was refused has an SQLSTATE of its own and will be refused again;
                    # classes 08 and 57 (shutdown, terminated) are about the connection, and a server
                    # that takes no writes (25006) was ours before a failover.
                    lost = error.sqlstate is None or error.sqlstate[:2] in {"08", "57", "25"}
                    self._forget_idle()
                    logger.warning(
                        "database connection lost",
                        **measured(attempt=attempt, sqlstate=error.sqlstate, database_errors=1),
                    )
                    if attempt == _ATTEMPTS or not lost:
                        raise Unavailable("the database cannot be reached") from error
                    await asyncio.sleep(0.05 * attempt)
        raise AssertionError

    async def _acquire(self) -> Connection:
        if self._ahead is not None:
            await self._ahead.wait()
            self._ahead = None
        while self._idle:
            connection, since = self._idle.pop()
            if self._now() - since <= _TRUSTED_IDLE_SECONDS and _is_alive(connection):
                return connection
            connection.pgconn.finish()
        return await self._connect()

    async def _connect(self) -> Connection:
        key = await self._login.key()
        try:
            return await self._open(key)
        except psycopg.OperationalError as error:
            # Nothing says why a connection was not made, not even a state: only whether it came as far
            # as to show a password. A reading for nothing is what that costs when it was not refused.
            if error.pgconn is None or not error.pgconn.used_password:
                raise
            other = await self._login.instead_of(key)
            if other is None:
                logger.exception("database login refused", **measured(database_errors=1))
                raise Unavailable("the database cannot be reached") from error
            logger.warning("database login refused, another is tried")
        return await self._open(other)

    async def _open(self, key: str | None) -> Connection:
        return await psycopg.AsyncConnection.connect(
            **self._login.complete(key),
            autocommit=True,
            prepare_threshold=None,  # RDS Proxy pins a connection that prepares
            row_factory=dict_row,
            application_name="serverless-chat",
        )

    async def _open_one(self) -> None:
        await self._release(await self._connect())

    def _forget_idle(self) -> None:
        """Where one connection is lost, the others are no better."""
        while self._idle:
            self._idle.pop()[0].pgconn.finish()

    async def _release(self, connection: Connection) -> None:
        if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._idle.append((connection, self._now()))
        else:
            connection.pgconn.finish()


def json_argument(request: Any) -> str:
    """The argument of a stored function: JSON with ids and times as text, and money as a decimal string."""
    return msgspec.json.encode(request).decode()


def _is_alive(connection: Connection) -> bool:
    """Whether an idle connection has not been closed by the other end, as far as is known here."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    try:
        while poll.poll(0):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True


async def _abandon(task: asyncio.Future[Any]) -> None:
    """Ends a query that nobody waits for. A first cancel asks Postgres to stop; should it not even
    answer to that, a second one makes psycopg close the connection at once."""
    for _ in range(2):
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        if task.done():
            break
    with contextlib.suppress(BaseException):
        task.exception()
