"""What this process has under way, each in a task of its own: no client, request or server owns it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from functions.chat_stream.answer_replay import AnswerReplay
from functions.chat_stream.turn import Turn
from shared.events import Finished


class BackgroundTasks:
    def __init__(self) -> None:
        self._turns: dict[asyncio.Task[None], Turn] = {}
        self._followers: dict[asyncio.Task[None], AnswerReplay] = {}
        self._savings: set[asyncio.Task[Any]] = set()

    @property
    def active(self) -> int:
        """How many turns are under way."""
        return len(self._turns)

    def start(self, turn: Turn) -> asyncio.Task[None]:
        task = asyncio.create_task(turn.run())
        self._turns[task] = turn
        task.add_done_callback(self._turns.pop)
        return task

    def follow(self, follower: AnswerReplay) -> asyncio.Task[None]:
        task = asyncio.create_task(follower.run())
        self._followers[task] = follower
        task.add_done_callback(self._followers.pop)
        return task

    def save(self, saving: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(saving)
        self._savings.add(task)
        task.add_done_callback(self._savings.discard)
        return task

    async def finish(self) -> None:
        """Ends everything where it is, and saves: the process is going away."""
        for turn in self._turns.values():
            turn.stop(Finished("deadline"))
        for follower in self._followers.values():
            follower.event_queue.abandon()
        if tasks := {*self._turns, *self._followers, *self._savings}:
            await asyncio.wait(tasks)
