"""Opening what a cold process will want, beside whatever else it has to do first."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from shared.logs import logger

# What is not open by then is not waited for: the process may have been frozen in the middle of it.
_PATIENCE = 2.0


async def begun(*all_of_it: "WarmUp") -> None:
    """Returns at once, unless nobody is waiting: a process made for provisioned concurrency is frozen
    as soon as it has started, for hours maybe, and gets done what it has begun."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency":
        await asyncio.gather(*(ahead.wait() for ahead in all_of_it))


class WarmUp:
    """Runs `opening`, whose failure is nobody's: who wants what it opens tries it again.

    `now` is wall-clock time, as a monotonic clock may stand still while a function is frozen.
    """

    def __init__(
        self, what: str, opening: Callable[[], Awaitable[None]], *, now: Callable[[], float] = time.time
    ) -> None:
        self._what = what
        self._now = now
        self._since = now()
        self.task = asyncio.create_task(self._run(opening))

    async def wait(self) -> None:
        """Returns when it is open, or is not going to be; then it is ended."""
        left = _PATIENCE - (self._now() - self._since)
        if not self.task.done() and left > 0:
            await asyncio.wait({self.task}, timeout=left)
        self.task.cancel()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self, opening: Callable[[], Awaitable[None]]) -> None:
        try:
            await opening()
        except Exception:
            logger.warning("what was opened ahead did not open", what=self._what, exc_info=True)
