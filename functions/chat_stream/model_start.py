"""Asks the models for an answer, until one of them begins it or the user stops the turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from shared.errors import ChatError
from shared.events import Event
from shared.llm.model_answer import FailedAttempt
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import ChatRequest
from shared.logs import logger

T = TypeVar("T")

# As often as a running answer reads whether it is to stop.
_CHECK_SECONDS = 0.8


class StoppedAnswer:
    """Takes the place of a model's answer if the user stops the turn before an answer begins. `target` is the
    first model that was asked, with `chat_request`."""

    failed_attempts: Sequence[FailedAttempt] = ()

    def __init__(self, target: ModelTarget, chat_request: ChatRequest) -> None:
        self.target = target
        self.chat_request = chat_request
        self.asked_at = asyncio.get_running_loop().time()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        return
        yield

    async def aclose(self) -> None:
        """Does nothing: the request to the model is closed already."""


async def start_model(
    start: Callable[[], Coroutine[Any, Any, T]], checkpoint: Callable[[], Awaitable[str | None]]
) -> T | None:
    """Calls `start`, which asks the models. Returns its result, or None if the user stops the turn before.
    Raises the errors of `start`.

    `checkpoint` returns "cancel" if the user has stopped the turn. It is not called in the first 0.8 s.
    """
    request = asyncio.create_task(start())
    try:
        while True:
            await asyncio.wait({request}, timeout=_CHECK_SECONDS)
            is_stopped = not request.done() and await _is_stopped(checkpoint)
            if request.done():
                return request.result()
            if is_stopped:
                return None
    finally:
        if not request.done():
            request.cancel()
            await asyncio.wait({request})


async def _is_stopped(checkpoint: Callable[[], Awaitable[str | None]]) -> bool:
    try:
        return await checkpoint() == "cancel"
    except ChatError as error:
        logger.warning("checkpoint failed", code=error.code)
        return False
