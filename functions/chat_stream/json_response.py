"""Sends an answer as one JSON body, or an error with its HTTP status."""

import asyncio
from collections.abc import Callable

from starlette.responses import Response

from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer, Dialect
from functions.chat_stream.event_queue import EventQueue
from shared import errors, web
from shared.asgi import Receive, Scope, Send
from shared.errors import ChatError, Unavailable
from shared.events import Event, Failed, Finished, TextDelta, Usage


class JSONAnswerResponse:
    """An ASGI response for a client that asked for `"stream": false`.

    `producer` is the task that fills the queue. The task continues if the client disconnects or the server
    cancels the request. `on_disconnect` is called if the client disconnects before the answer is complete.
    """

    def __init__(
        self,
        events: EventQueue,
        dialect: Dialect,
        producer: asyncio.Task[None],
        *,
        meta: AnswerMeta,
        headers: dict[str, str],
        on_disconnect: Callable[[], None] | None = None,
    ) -> None:
        self._events = events
        self._dialect = dialect
        self._producer = producer
        self._meta = meta
        self._headers = headers
        self._on_disconnect = on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnect = asyncio.create_task(self._report_disconnect(receive))
        try:
            await asyncio.shield(self._producer)
        finally:
            disconnect.cancel()
        response = self._response(await self._events.take() or [])
        await response(scope, receive, send)

    async def _report_disconnect(self, receive: Receive) -> None:
        """Lambda reports a disconnect after the response."""
        if self._on_disconnect is None:
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_disconnect()

    def _response(self, events: list[Event]) -> Response:
        text, usage = [], Usage(0, 0)
        for event in events:
            match event:
                case TextDelta():
                    text.append(event.text)
                case Usage():
                    usage = event
                case Finished():
                    answer = CompletedAnswer(self._meta, "".join(text), usage, event.reason)
                    return web.json_response(self._dialect.complete_answer(answer), headers=self._headers)
                case Failed():
                    error = errors.class_for_code(event.code)(event.message)
                    return dialect_error_response(self._dialect, error, self._headers)
        # A replay ends like this at the function's deadline, or if the answer cannot be read.
        error = Unavailable("the answer could not be read to its end")
        return dialect_error_response(self._dialect, error, self._headers)


def dialect_error_response(
    dialect: Dialect, error: ChatError, headers: dict[str, str] | None = None
) -> Response:
    """An error as a response in the client's dialect."""
    return web.json_response(
        dialect.error(error),
        status=dialect.statuses.get(error.code, error.status),
        headers={**error.headers, **(headers or {})},
    )
