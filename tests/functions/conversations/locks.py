"""Holds a database lock, so that a test controls the order of parallel requests."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def conversations_locked(superuser_url: str) -> Iterator[Callable[[int], str]]:
    """Locks all conversations until the block ends. Yields a function that waits until `count` other
    connections wait for a lock and returns the time of the database."""
    with (
        psycopg.connect(superuser_url) as holder,
        psycopg.connect(superuser_url, autocommit=True) as observer,
    ):
        holder.execute("select 1 from conversations for no key update")

        def wait_for_waiters(count: int) -> str:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                [seen, now] = observer.execute(
                    "select count(*), clock_timestamp()::text from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock'"
                ).fetchone() or (0, "")
                if seen >= count:
                    return str(now)
            raise AssertionError(f"fewer than {count} connections wait for a lock")

        yield wait_for_waiters
