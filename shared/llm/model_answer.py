"""A started answer of a model, read as events.

The turn decides how long to wait for events, and what to do with them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import httpx
from msgspec import Struct

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import ChatRequest, Decoder

CONTENT_OR_END = (TextDelta, ReasoningDelta, Finished, Failed)
# After the last event only the end of the chunked encoding may follow. It is read for this long, so that the
# connection can be used again.
_DRAIN_SECONDS = 0.1


class FailedAttempt(Struct, frozen=True):
    """An attempt without an answer, and the usage that the provider reported for it."""

    target: ModelTarget
    usage: Usage


class ModelAnswer:
    """A started answer. Iterate over it, then close it. Each item is the list of events of one read.

    The last event is a `Finished` or a `Failed`, also when the connection breaks. Closing the answer earlier
    closes the connection, which tells the provider to stop. `failed_attempts` are the attempts before this
    answer. `chat_request` is the request as it was sent, and `asked_at` the time of it (the loop's time).
    """

    failed_attempts: tuple[FailedAttempt, ...] = ()
    chat_request: ChatRequest
    asked_at: float

    def __init__(self, target: ModelTarget, response: httpx.Response, decoder: Decoder) -> None:
        self.target = target
        self._response = response
        self._decoder = decoder
        self._reads = aiter(cast("httpx.AsyncByteStream", response.stream))
        self._has_data = False
        self._is_complete = False
        self._first_events_task = asyncio.ensure_future(self._read_first_events())

    async def first_events(self, deadline: float) -> list[Event] | None:
        """The events up to the first content, if that comes before `deadline` (the loop's time). Returns []
        if data has arrived but no content, and None if no data has arrived."""
        await asyncio.wait(
            {self._first_events_task}, timeout=max(0, deadline - asyncio.get_running_loop().time())
        )
        if self._first_events_task.done():
            return self._first_events_task.result()
        return [] if self._has_data else None

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        events = await self._first_events_task
        while True:
            if events:
                self._is_complete = isinstance(events[-1], Finished | Failed)
                yield events
                if self._is_complete:
                    return
            events = await self._read()

    async def aclose(self) -> None:
        self._first_events_task.cancel()
        await asyncio.wait({self._first_events_task})
        if self._is_complete:
            # A connection that was read to its end can serve the next turn.
            with contextlib.suppress(httpx.HTTPError, OSError, StopAsyncIteration, TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await anext(self._reads)
        await self._response.aclose()

    async def _read_first_events(self) -> list[Event]:
        events: list[Event] = []
        while not any(isinstance(event, CONTENT_OR_END) for event in events):
            events += await self._read()
        return events

    async def _read(self) -> list[Event]:
        try:
            data = await anext(self._reads)
        except httpx.DecodingError:
            return self._decoder.reject()
        except (StopAsyncIteration, httpx.HTTPError, OSError):
            # The connection may break before or after the end of the answer. The decoder tells the two cases
            # apart.
            return self._decoder.close()
        self._has_data = True
        return self._decoder.feed(data)
