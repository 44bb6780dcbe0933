"""The processes of one function: chooses a process for each invocation and starts new processes."""

import asyncio
import contextlib

from dev.lambda_process import Function, FunctionProcess, InitFailed, Log
from dev.runtime_api import Failure, Sink

# Seconds to wait for a process that has ended its response, before a new process is started.
_HANDOVER = 0.5


class ProcessPool:
    """At most `max_concurrency` processes of one function, each with one invocation at a time."""

    def __init__(self, function: Function, log: Log) -> None:
        self.function = function
        self.processes: list[FunctionProcess] = []
        self._log = log
        self._idle: list[FunctionProcess] = []
        self._starting = 0
        self._changed = asyncio.Condition()

    async def invoke(self, event: bytes, sink: Sink) -> None:
        """Returns when the process is idle again or has ended."""
        try:
            process = await self._acquire()
        except InitFailed as error:
            await sink.finish(error.failure)
            return
        if process is None:
            await sink.finish(Failure("TooManyRequests"))
            return
        await process.invoke(event, sink)
        async with self._changed:
            self._idle.append(process)
            self._changed.notify_all()

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes))

    async def _acquire(self) -> FunctionProcess | None:
        """Returns the idle process that was used last, a new process, or None at the concurrency limit.

        Raises InitFailed.
        """
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HANDOVER):
                    await self._changed.wait_for(lambda: self._idle or not self._finishing())
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                self.processes.remove(process)
                await process.stop()
            if len(self.processes) + self._starting >= self.function.max_concurrency:
                return None
            self._starting += 1
        try:
            process = await FunctionProcess.start(self.function, self._log)
            self.processes.append(process)
        finally:
            self._starting -= 1
        return process

    def _finishing(self) -> bool:
        return any(process.finishing for process in self.processes)
