"""Sends an answer as Server-Sent Events. The turn continues when the client disconnects, except in formats
that stop it then."""

import asyncio
from collections.abc import Callable

from functions.chat_stream.dialects.base import Encoder
from functions.chat_stream.event_queue import EventQueue
from shared import sse
from shared.asgi import Receive, Scope, Send

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # without this header nginx buffers the response
)


class SSEResponse:
    """An ASGI response. Sends all events in the queue in one write, and a heartbeat if there are none for
    `heartbeat` seconds.

    `producer` is the task that fills the queue. The response waits for this task, even if the client has
    disconnected, because Lambda freezes the process when the response ends.
    `heartbeat` is in seconds, `padding` in bytes. `on_disconnect` is called if the client disconnects before
    the response is complete.
    """

    def __init__(
        self,
        events: EventQueue,
        encoder: Encoder,
        producer: asyncio.Task[None],
        *,
        headers: dict[str, str],
        heartbeat: float,
        padding: int,
        on_disconnect: Callable[[], None] | None = None,
    ) -> None:
        self._events = events
        self._encoder = encoder
        self._producer = producer
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._heartbeat = heartbeat
        self._padding = padding
        self._on_disconnect = on_disconnect
        self._written_at = 0.0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        disconnect = asyncio.create_task(self._abandon_on_disconnect(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *self._headers]})
            await self._write_events(send)
        except OSError:
            self._abandon()
        finally:
            disconnect.cancel()
            # Shielded: if the server cancels this request, the turn continues.
            await asyncio.shield(self._producer)

    async def _abandon_on_disconnect(self, receive: Receive) -> None:
        """Some servers report a disconnect only on `receive`. Lambda reports it after the response."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._abandon()

    def _abandon(self) -> None:
        self._events.abandon()
        if self._on_disconnect is not None:
            self._on_disconnect()

    async def _write_events(self, send: Send) -> None:
        self._written_at = asyncio.get_running_loop().time()
        self._schedule_heartbeat()
        try:
            if self._padding:
                await self._write(send, sse.padding(self._padding))
            while (events := await self._events.take()) is not None:
                data = self._encoder.encode(events) if events else sse.HEARTBEAT
                last = self._events.exhausted
                await self._write(send, data, last=last)
                if last:
                    return
        finally:
            self._timer.cancel()
        await self._write(send, b"", last=True)

    async def _write(self, send: Send, data: bytes, *, last: bool = False) -> None:
        if data or last:
            self._written_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": data, "more_body": not last})

    def _schedule_heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        due = self._written_at + self._heartbeat
        if loop.time() >= due:
            self._events.wake()
            due = loop.time() + self._heartbeat
        self._timer = loop.call_at(due, self._schedule_heartbeat)
