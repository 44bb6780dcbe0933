"""An answer that a model has begun, as lists of events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import Decoder

CONTENT_OR_END = (TextDelta, ReasoningDelta, Finished, Failed)

# What a provider may still send after its last event: the end of its chunked encoding, no more.
_DRAIN_SECONDS = 0.1


class ModelAnswer:
    """An answer that has begun: iterate it for lists of events, one list a read, then close it.

    The last event is a `Finished` or a `Failed`, whatever happens to the connection. Closing before
    that closes the connection, which tells the provider to stop.
    """

    def __init__(self, target: ModelTarget, response: httpx.Response, decoder: Decoder) -> None:
        self.target = target
        self.failed_attempts: tuple[Any, ...] = ()
        self._response = response
        self._decoder = decoder
        self._reads = aiter(cast("httpx.AsyncByteStream", response.stream))
        self._heard = False
        self._first = asyncio.ensure_future(self._beginning())
        self._complete = False

    async def begins(self, deadline: float) -> list[Event] | None:
        """The events up to the first content, if it comes before `deadline` (the loop's time); [] if
        something was heard that was no content yet; None if nothing was."""
        await asyncio.wait({self._first}, timeout=max(0, deadline - asyncio.get_running_loop().time()))
        if self._first.done():
            return self._first.result()
        return [] if self._heard else None

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        events = await self._first
        while True:
            if events:
                self._complete = isinstance(events[-1], Finished | Failed)
                yield events
                if self._complete:
                    return
            events = await self._read()

    async def aclose(self) -> None:
        self._first.cancel()
        await asyncio.wait({self._first})
        if self._complete:
            # Read to its end, the connection can serve the next turn.
            with contextlib.suppress(httpx.HTTPError, OSError, StopAsyncIteration, TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await anext(self._reads)
        await self._response.aclose()

    async def _beginning(self) -> list[Event]:
        events: list[Event] = []
        while not any(isinstance(event, CONTENT_OR_END) for event in events):
            events += await self._read()
        return events

    async def _read(self) -> list[Event]:
        try:
            data = await anext(self._reads)
        except (StopAsyncIteration, httpx.HTTPError, OSError):
            # OSError: httpx lets what breaks inside TLS through as it is.
            # A connection may break after the answer's end as well as before: the decoder knows.
            return self._decoder.close()
        self._heard = True
        return self._decoder.feed(data)
