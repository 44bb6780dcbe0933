"""The tasks that continue when their request ends: turns, replays and saves."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from functions.chat_stream.answer_replay import AnswerReplay
from functions.chat_stream.turn import Turn
from shared.events import Finished


class BackgroundTasks:
    def __init__(self) -> None:
        self._turns: dict[asyncio.Task[None], Turn] = {}
        self._replays: dict[asyncio.Task[None], AnswerReplay] = {}
        self._saves: set[asyncio.Task[Any]] = set()

    @property
    def active_turns(self) -> int:
        return len(self._turns)

    def run_turn(self, turn: Turn) -> asyncio.Task[None]:
        task = asyncio.create_task(turn.run())
        self._turns[task] = turn
        task.add_done_callback(self._turns.pop)
        return task

    def run_replay(self, replay: AnswerReplay) -> asyncio.Task[None]:
        task = asyncio.create_task(replay.run())
        self._replays[task] = replay
        task.add_done_callback(self._replays.pop)
        return task

    def run_save(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._saves.add(task)
        task.add_done_callback(self._saves.discard)
        return task

    async def shut_down(self) -> None:
        """Stops all turns and replays, and waits until they and all saves are done. Called before the process
        ends."""
        for turn in self._turns.values():
            turn.stop(Finished("deadline"))
        for replay in self._replays.values():
            replay.events.abandon()
        if tasks := {*self._turns, *self._replays, *self._saves}:
            await asyncio.wait(tasks)
