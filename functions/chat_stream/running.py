"""What this process has under way, each in a task of its own: no client, request or server owns it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from functions.chat_stream.turn import Turn
from shared.events import Finished


class RunningTurns:
    def __init__(self) -> None:
        self._turns: dict[asyncio.Task[None], Turn] = {}
        self._savings: set[asyncio.Task[Any]] = set()

    def start(self, turn: Turn) -> asyncio.Task[None]:
        task = asyncio.create_task(turn.run())
        self._turns[task] = turn
        task.add_done_callback(self._turns.pop)
        return task

    def save(self, saving: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(saving)
        self._savings.add(task)
        task.add_done_callback(self._savings.discard)
        return task

    async def finish(self) -> None:
        """Ends all turns where they are, saved: the process is going away."""
        for turn in self._turns.values():
            turn.stop(Finished("deadline"))
        if tasks := {*self._turns, *self._savings}:
            await asyncio.wait(tasks)
