"""Lets a new turn wait until the answer that the user has stopped is settled.

A stopped answer ends at the next checkpoint, after up to 0.8 s, and then it is saved. Without this wait a
client that stops an answer and sends the next message at once would get 409.
"""

import asyncio
from typing import Protocol

from functions.chat_stream.records import StartedTurn
from functions.chat_stream.store import StoppingAnswer
from functions.chat_stream.timeouts import Timeouts

_LONGEST_WAIT_SECONDS = 2.0
_POLL_SECONDS = 0.2


class Begin(Protocol):
    async def __call__(self, *, within: float) -> StartedTurn: ...


async def begin_after_stop(begin: Begin, timeouts: Timeouts) -> tuple[StartedTurn, Timeouts]:
    """Calls `begin` until it no longer raises StoppingAnswer. Returns its result, and the time limits moved
    by the time of the wait. Raises StoppingAnswer after 2 s, and all other errors of `begin`.

    Each call is a transaction of its own, so nothing in the database is locked during the wait.
    """
    loop = asyncio.get_running_loop()
    wait_until = loop.time() + _LONGEST_WAIT_SECONDS
    while True:
        tried_at = loop.time()
        try:
            return await begin(within=timeouts.seconds_to_respond()), timeouts
        except StoppingAnswer:
            if loop.time() >= wait_until:
                raise
        await asyncio.sleep(_POLL_SECONDS)
        timeouts = timeouts.after_wait(loop.time() - tried_at)
