"""Writes a turn to its client as Server-Sent Events: whatever is there in one write, and a heartbeat
where there is nothing. The turn goes on when the client does not."""

import asyncio
from typing import TypeAlias

from msgspec import Struct
from starlette.responses import Response

from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer, Dialect, Encoder
from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.request import TurnRequest
from shared import errors, sse, web
from shared.asgi import Receive, Scope, Send
from shared.events import Failed, Finished, TextDelta, Usage

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would gather the events
)


class Reply(Struct, frozen=True):
    """How an answer goes to a client: in which format, as a stream or whole. `heartbeat` in seconds,
    `padding` in bytes."""

    dialect: Dialect
    ask: TurnRequest
    heartbeat: float
    padding: int

    def to(
        self,
        event_queue: EventQueue,
        writer: asyncio.Task[None],
        *,
        meta: AnswerMeta,
        headers: dict[str, str],
        offset: int = 0,
    ) -> "Answer":
        """`writer` fills the outbox; the client has the first `offset` characters."""
        headers = {**self.dialect.headers, **headers}
        if not self.ask.stream:
            return WholeResponse(event_queue, self.dialect, writer, meta=meta, headers=headers)
        return EventStream(
            event_queue,
            self.dialect.encoder(self.ask, meta, offset),
            writer,
            headers=headers,
            heartbeat=self.heartbeat,
            padding=self.padding,
        )


class EventStream:
    """An ASGI response. It ends when `writer`, which fills the outbox, does, even if the client left
    before: on Lambda, what is not awaited is frozen."""

    def __init__(
        self,
        event_queue: EventQueue,
        encoder: Encoder,
        writer: asyncio.Task[None],
        *,
        headers: dict[str, str],
        heartbeat: float,
        padding: int,
    ) -> None:
        self._outbox = event_queue
        self._encoder = encoder
        self._writer = writer
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._heartbeat = heartbeat
        self._padding = padding
        self._written_at = 0.0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(self._abandon_when_left(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *self._headers]})
            await self._write(send)
        except OSError:
            self._outbox.abandon()
        finally:
            listening.cancel()
            # Shielded: a server that gives up on this request does not give up the answer.
            await asyncio.shield(self._writer)

    async def _abandon_when_left(self, receive: Receive) -> None:
        """Some servers say that the client is gone only when they are asked. Lambda never says it."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._outbox.abandon()

    async def _write(self, send: Send) -> None:
        self._written_at = asyncio.get_running_loop().time()
        self._watch_silence()
        try:
            if self._padding:
                await self._send(send, sse.padding(self._padding))
            while (events := await self._outbox.take()) is not None:
                data = self._encoder.encode(events) if events else sse.HEARTBEAT
                await self._send(send, data, last=self._outbox.spent)
                if self._outbox.spent:
                    return
        finally:
            self._alarm.cancel()
        await self._send(send, b"", last=True)

    async def _send(self, send: Send, data: bytes, *, last: bool = False) -> None:
        if data or last:
            self._written_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": data, "more_body": not last})

    def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        due = self._written_at + self._heartbeat
        if loop.time() >= due:
            self._outbox.nudge()
            due = loop.time() + self._heartbeat
        self._alarm = loop.call_at(due, self._watch_silence)


class WholeResponse:
    """An ASGI response for a client that wants all of the answer at once, or the error with its status."""

    def __init__(
        self,
        event_queue: EventQueue,
        dialect: Dialect,
        writer: asyncio.Task[None],
        *,
        meta: AnswerMeta,
        headers: dict[str, str],
    ) -> None:
        self._outbox = event_queue
        self._dialect = dialect
        self._writer = writer
        self._head = meta
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Shielded, as a stream is: the answer goes on, whoever waits for it.
        await asyncio.shield(self._writer)
        text, usage, reason = [], Usage(0, 0), "stop"
        for event in await self._outbox.take() or ():
            match event:
                case TextDelta(more):
                    text.append(more)
                case Usage():
                    usage = event
                case Finished(why):
                    reason = why
                case Failed(code, message):
                    error = errors.by_code(code)(message)
                    response = web.json_response(
                        self._dialect.error(error), status=error.status, headers=self._headers
                    )
                    await response(scope, receive, send)
                    return
        answer = CompletedAnswer(self._head, "".join(text), usage, reason)
        response = web.json_response(self._dialect.whole(answer), headers=self._headers)
        await response(scope, receive, send)


Answer: TypeAlias = Response | EventStream | WholeResponse
