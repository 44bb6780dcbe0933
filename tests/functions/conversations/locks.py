"""A lock in the way of others, so that what would be a race happens in one order."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def conversations_locked(superuser_url: str) -> Iterator[Callable[[int], str]]:
    """Nobody can change a conversation until the block ends. Gives a function that returns once so many
    others are waiting for that, with the time that it then is."""
    with (
        psycopg.connect(superuser_url) as holding,
        psycopg.connect(superuser_url, autocommit=True) as watching,
    ):
        holding.execute("select 1 from conversations for no key update")

        def waiting(count: int) -> str:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                [seen, now] = watching.execute(
                    "select count(*), clock_timestamp()::text from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock'"
                ).fetchone() or (0, "")
                if seen >= count:
                    return str(now)
            raise AssertionError(f"nobody, or fewer than {count}, waited")

        yield waiting
