"""A transport of httpx for HTTP/1.1 answers that come in many small chunks.

It has httpx's interface and errors. All chunks of one socket read are returned as one piece. Chunks are
parsed in C on an asyncio protocol (docs/decisions/0005). Connections are kept for later requests to the same
origin.
"""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools
import httpx

# The limit of unread data. Above it, reading from the socket pauses.
_READ_AHEAD_BYTES = 262_144
_MAX_HEAD_BYTES = 65_536

_Origin = tuple[bytes, str, int]


class StreamingTransport(httpx.AsyncBaseTransport):
    """Connections to any number of origins. `context` is for TLS. A connection that was idle for more than
    `keep_alive` seconds of wall-clock time is not used again."""

    def __init__(
        self, context: ssl.SSLContext, *, keep_alive: float, now: Callable[[], float] = time.time
    ) -> None:
        self._context = context
        self._keep_alive = keep_alive
        self._now = now
        self._idle: defaultdict[_Origin, list[tuple[_Connection, float]]] = defaultdict(list)

    async def warm_up(self, url: httpx.URL) -> None:
        """Opens a connection for the next request to the URL's origin. Raises httpx's ConnectError."""
        origin = _origin(url)
        connection = await self._open(origin)
        connection.set_idle()
        self._release(origin, connection)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx's ConnectError, ReadError and RemoteProtocolError. The caller sets timeouts."""
        body = await request.aread()
        origin = _origin(request.url)
        connection = await self._acquire(origin)
        try:
            connection.send(_encode_head(request) + body)
            head = await connection.head()
        except BaseException:
            connection.abort()
            raise
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=_Body(connection, lambda: self._release(origin, connection)),
        )

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection, _ in connections:
                connection.abort()
        self._idle.clear()

    async def _acquire(self, origin: _Origin) -> "_Connection":
        idle = self._idle[origin]
        while idle:
            connection, since = idle.pop()
            if connection.usable and self._now() - since <= self._keep_alive:
                connection.reset()
                return connection
            connection.abort()
        connection = await self._open(origin)
        connection.reset()
        return connection

    async def _open(self, origin: _Origin) -> "_Connection":
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                _Connection,
                host,
                port,
                ssl=self._context if scheme == b"https" else None,
                server_hostname=host if scheme == b"https" else None,
            )
        except OSError as error:  # No name, no route, refused, or a fault of TLS.
            raise httpx.ConnectError("connection failed") from error
        return connection

    def _release(self, origin: _Origin, connection: "_Connection") -> None:
        if connection.usable:
            self._idle[origin].append((connection, self._now()))
        else:
            connection.abort()


class _Head:
    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []


class _Connection(asyncio.Protocol):
    """A connection, which serves one request at a time. The parser calls the `on_` methods."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self.reset()

    def reset(self) -> None:
        """Prepares the connection for another response."""
        self._head = _Head()
        self._head_size = 0
        self._head_complete = False
        self._response_complete = False
        self._body_ends_at_eof = False
        self._server_keeps_alive = False
        self._error: httpx.TransportError | None = None
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        # The parser calls `on_body` for each chunk. A bound `append` is the fastest callback.
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)

    def set_idle(self) -> None:
        """Sets the state after a response, for a connection that has had no request yet."""
        self._response_complete = self._server_keeps_alive = True

    @property
    def usable(self) -> bool:
        """Whether another request can follow: the response is read and the server keeps the connection."""
        return self._response_complete and self._server_keeps_alive and not self._lost and not self._pieces

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def head(self) -> _Head:
        while not self._head_complete:
            self._raise_if_ended("the server closed the connection without an answer")
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """All unread data. Waits until there is some; b"" at the end of the response."""
        while not self._pieces:
            if self._response_complete:
                return b""
            self._raise_if_ended("the connection was lost before the end of the answer")
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if len(data) > _READ_AHEAD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        return data

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and not an assertion: uvloop's transports have the interface and not the class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._response_complete:
            # Data without a request must not become a part of the next response.
            self.abort()
            return
        if not self._head_complete:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(httpx.RemoteProtocolError("the server does not speak HTTP"))
        if not self._head_complete and self._head_size > _MAX_HEAD_BYTES:
            self._fail(httpx.RemoteProtocolError("the head of the answer is too long"))
        if sum(map(len, self._pieces)) > _READ_AHEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._lost = True
        if self._head_complete and self._body_ends_at_eof and self._error is None:
            self._response_complete = True
        self._wake()

    def on_message_begin(self) -> None:
        if self._response_complete:
            raise httpx.RemoteProtocolError("more than one response")  # Stops the parser.

    def on_status(self, _: bytes) -> None:
        self._head = _Head()  # A new head: the headers of an interim response (1xx) are ignored.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head.status = self._parser.get_status_code()
        if self._head.status < 200:
            return
        names = {name.lower() for name, _ in self._head.headers}
        self._body_ends_at_eof = not names & {b"content-length", b"transfer-encoding"}
        self._head_complete = True

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._response_complete = True
            self._server_keeps_alive = self._parser.should_keep_alive()

    def _raise_if_ended(self, sentence: str) -> None:
        if self._error is not None:
            raise self._error
        if self._lost:
            raise httpx.RemoteProtocolError(sentence)

    def _fail(self, error: httpx.TransportError) -> None:
        self._error = error
        self.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Body(httpx.AsyncByteStream):
    """The body of a response, one piece for each read of the socket."""

    def __init__(self, connection: _Connection, release: Callable[[], None]) -> None:
        self._connection = connection
        self._release = release

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._connection.read():
            return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._release()


def _origin(url: httpx.URL) -> _Origin:
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.raw_scheme, url.host, port


def _encode_head(request: httpx.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])
