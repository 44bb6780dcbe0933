"""The server side of an HTTP/1.1 connection, with streamed bodies and trailers. h11 does the parsing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import h11

Headers = list[tuple[str, str]]
_READ_BYTES = 64 * 1024


class Disconnected(Exception):
    """The client has disconnected or has sent something that is not HTTP."""


class Connection:
    """Serves one request at a time. `trailers` are those of the request, after the end of `body()`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trailers: dict[str, str] = {}
        self.peer: str = writer.get_extra_info("peername")[0]
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ_BYTES)
        self._head_only = False

    async def request(self) -> h11.Request | None:
        """The head of the next request, or None at the end of the connection. Raises Disconnected."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return None
        self._head_only = event.method == b"HEAD"
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """The parts of the request's body as they arrive. Raises Disconnected if the body is incomplete."""
        if self._http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self._next_event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise Disconnected
        self.trailers = {name.decode(): value.decode() for name, value in event.headers}

    async def send(self, *events: h11.Event) -> None:
        """Sends all events in one write. Waits until the write buffer has room. Raises Disconnected."""
        try:
            self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
            await self._writer.drain()
        except (OSError, h11.LocalProtocolError) as error:
            raise Disconnected from error

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a complete response. Raises Disconnected."""
        await self.send(
            h11.Response(status_code=status, headers=[*headers, ("Content-Length", str(len(body)))]),
            h11.Data(data=body if self.has_body(status) else b""),
            h11.EndOfMessage(),
        )

    def has_body(self, status: int) -> bool:
        """Whether a response with this status to the current request has a body."""
        return not self._head_only and status not in (204, 304)

    def abort(self) -> None:
        """Aborts the connection, so that the client sees that the response is incomplete."""
        self._writer.transport.abort()

    async def _next_event(self) -> h11.Event:
        while True:
            try:
                event = self._http.next_event()
                if isinstance(event, h11.Event):
                    return event
                if event is h11.PAUSED:
                    raise Disconnected  # a second request before the response to the first
                self._http.receive_data(await self._reader.read(_READ_BYTES))
            except (OSError, h11.RemoteProtocolError) as error:
                raise Disconnected from error


@contextlib.asynccontextmanager
async def listening(serve: Callable[[Connection], Awaitable[None]], port: int = 0) -> AsyncIterator[int]:
    """Serves HTTP on 127.0.0.1. Yields the port. Closes all connections at the end."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(Connection(reader, writer))
            writer.close()
            await writer.wait_closed()
        except (Disconnected, OSError, asyncio.CancelledError):
            writer.transport.abort()

    async with listening_stream(accept, port) as bound:
        yield bound


@contextlib.asynccontextmanager
async def listening_stream(
    accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], port: int = 0
) -> AsyncIterator[int]:
    """Serves TCP on 127.0.0.1 with one task per connection. Yields the port. Cancels the tasks at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def track(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await accept(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(track, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
