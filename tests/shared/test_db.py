"""The connection pool with a real Postgres whose connections break in different ways."""

import asyncio
import time
from uuid import uuid4

import psycopg
import pytest

from shared.db import Database
from shared.db_credentials import DatabaseCredentials
from shared.errors import Unavailable

ALICE = uuid4()


class Clock:
    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


def run(scenario, url, **options):
    async def main():
        database = Database(DatabaseCredentials.from_url(url), **options)
        try:
            return await scenario(database)
        finally:
            await database.close()

    return asyncio.run(main())


def backend(database):
    return database.call("select pg_backend_pid()")


def test_a_call_returns_the_first_column_of_the_first_row(database):
    async def scenario(db):
        assert await db.call("select 1, 2") == 1
        assert await db.call("select 1 where false") is None
        assert await db.call("select %s::text", ("x",)) == "x"

    run(scenario, database.url)


def test_a_fetch_sets_its_user_for_one_transaction_only(database):
    async def scenario(db):
        [row] = await db.fetch(ALICE, "select app.user_id() as id")
        assert row == {"id": ALICE}
        assert await db.call("select app.user_id()") is None

    run(scenario, database.url, max_connections=1)


def test_a_fetch_that_fails_leaves_no_user_set(database):
    async def scenario(db):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await db.fetch(ALICE, "select 1 / 0")
        assert await db.call("select app.user_id()") is None

    run(scenario, database.url, max_connections=1)


def test_sequential_calls_use_one_connection(database):
    async def scenario(db):
        return {await backend(db) for _ in range(5)}

    assert len(run(scenario, database.url)) == 1


def test_no_more_connections_are_opened_than_allowed(database):
    async def scenario(db):
        async def slow():
            return await db.call("select pg_backend_pid() from pg_sleep(0.05)")

        return set(await asyncio.gather(*(slow() for _ in range(12))))

    assert len(run(scenario, database.url, max_connections=3)) <= 3


def test_a_closed_idle_connection_is_replaced(server, database):
    async def scenario(db):
        first = await backend(db)
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(%s, 5000)", (first,))
        assert await backend(db) != first

    run(scenario, database.url)


def test_a_call_is_repeated_if_its_connection_is_closed(server, database):
    async def scenario(db):
        call = asyncio.create_task(db.call("select pg_backend_pid() from pg_sleep(0.5)"))
        pid = None
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            while pid is None:
                await asyncio.sleep(0.01)
                query = "select pid from pg_stat_activity where query like 'select pg_backend_pid() from%'"
                pid = (connection.execute(query).fetchone() or [None])[0]
            connection.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        assert await call != pid

    run(scenario, database.url)


def test_a_connection_is_not_used_again_after_a_long_idle_time(database):
    clock = Clock()

    async def scenario(db):
        first = await backend(db)
        clock.time += 50
        assert await backend(db) == first
        clock.time += 3600
        assert await backend(db) != first

    run(scenario, database.url, now=clock)


def test_a_call_that_times_out_is_unavailable_and_its_query_is_cancelled(database):
    async def scenario(db):
        started_at = time.monotonic()
        with pytest.raises(Unavailable):
            await db.call("select 1 from pg_sleep(20)")
        assert time.monotonic() - started_at < 3
        assert await db.call("select 1") == 1

    run(scenario, database.url, timeout=0.5)
    running = "select 1 from pg_stat_activity where query like '%%pg_sleep(20)' and state = 'active'"
    assert database.rows(running) == []


def test_a_database_that_cannot_be_reached_is_unavailable(database):
    async def scenario(db):
        with pytest.raises(Unavailable):
            await db.call("select 1")

    run(scenario, "postgresql://chat_app@127.0.0.1:1/chat")


def test_a_cancelled_caller_leaves_a_working_pool(database):
    async def scenario(db):
        call = asyncio.create_task(db.call("select 1 from pg_sleep(20)"))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await db.call("select 2") == 2

    run(scenario, database.url, max_connections=1)


def test_a_transaction_with_a_serialization_failure_is_repeated(database):
    database.rows("create table public.tries (n int); create sequence public.attempts")
    database.rows("grant all on public.tries to chat_app; grant all on sequence public.attempts to chat_app")
    database.rows(
        "create function app.collide_twice() returns bigint language plpgsql as $$ begin"
        " if nextval('public.attempts') < 3 then raise sqlstate '40001'; end if;"
        " return currval('public.attempts'); end $$"
    )

    async def scenario(db):
        return await db.call("select app.collide_twice()")

    assert run(scenario, database.url) == 3


def test_a_connection_to_a_read_only_server_is_replaced(server, database):
    """After a failover an open connection can lead to a replica, which is read-only."""
    database.rows("create table public.notes (n int); grant all on public.notes to chat_app")

    async def scenario(db):
        first = await backend(db)
        # Only this session is read-only. A new connection can write.
        await db.call("select set_config('default_transaction_read_only', 'on', false)")
        await db.fetch(ALICE, "insert into public.notes values (1) returning n")
        assert await backend(db) != first

    run(scenario, database.url, max_connections=1)
    assert database.rows("select n from public.notes") == [{"n": 1}]


def count_connections(database):
    return len(
        database.rows(
            "select 1 from pg_stat_activity where usename = 'chat_app' and datname = current_database()"
        )
    )


def test_the_first_call_waits_for_the_warm_up(database):
    async def scenario(db):
        db.warm_up()
        first = await backend(db)
        assert count_connections(database) == 1
        assert await backend(db) == first

    run(scenario, database.url)


def test_a_connection_of_the_warm_up_is_not_used_after_a_long_freeze(database):
    clock = Clock()

    async def scenario(db):
        await db.warm_up().task
        warm = database.rows("select pid from pg_stat_activity where usename = 'chat_app'")
        clock.time += 3600
        assert await backend(db) not in {row["pid"] for row in warm}

    run(scenario, database.url, now=clock)


def test_the_first_call_raises_if_the_warm_up_and_the_call_cannot_reach_the_database():
    async def scenario(db):
        await db.warm_up().task
        with pytest.raises(Unavailable):
            await db.call("select 1")

    run(scenario, "postgresql://chat_app@127.0.0.1:1/chat")
