"""Opens connections and reads secrets in the background while a process starts, before the first request
needs them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from shared.logs import logger

# A longer warm-up is cancelled: the process may have been frozen meanwhile.
_MAX_WAIT_SECONDS = 2.0


async def wait_if_provisioned(*warm_ups: "WarmUp") -> None:
    """With provisioned concurrency, waits for the warm-ups, because Lambda may freeze the process for hours
    after its start. Otherwise returns at once, because a request is already waiting."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency":
        await asyncio.gather(*(warm_up.wait() for warm_up in warm_ups))


class WarmUp:
    """Runs `work` in a task. Errors are only logged; the first real use tries again.

    `now` is wall-clock time, because a monotonic clock may stand still while a function is frozen.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], *, now: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._now = now
        self._started_at = now()
        self.task = asyncio.create_task(self._run(work))

    async def wait(self) -> None:
        """Returns when the work is done or has failed, or after 2 s. Work that is not done then is
        cancelled."""
        time_left = _MAX_WAIT_SECONDS - (self._now() - self._started_at)
        if not self.task.done() and time_left > 0:
            await asyncio.wait({self.task}, timeout=time_left)
        self.task.cancel()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            logger.warning("warm-up failed", warm_up=self._name, exc_info=True)
