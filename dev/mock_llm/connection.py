"""A client connection of the mock. h11 parses the requests. Responses are written as raw bytes, because h11
refuses to send incomplete messages."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import h11

LINGER_OFF = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """`headers` have lower-case names. `path` has no query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Serve = Callable[[Request, "Connection"], Awaitable[None]]


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """Calls `serve` for each request, one at a time. Cancels it when the client disconnects."""

    serve: Serve
    connected: Callable[["Connection"], None]
    lost: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _transport: asyncio.Transport = field(init=False)
    _writable: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _serving: asyncio.Task[None] | None = field(init=False, default=None)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def flush(self) -> None:
        """Returns when the kernel has accepted all written data."""
        await self._writable.wait()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def reset(self) -> None:
        """Closes with a TCP reset."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # so that `flush` waits for all data
        self._writable.set()
        self._expect_request(b"")
        self.connected(self)

    def data_received(self, data: bytes) -> None:
        self._parser.receive_data(data)
        if self._serving is None:
            self._read_request()

    def eof_received(self) -> None:
        # The client has disconnected. A graceful close would first wait until all data is sent.
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._serving:
            self._serving.cancel()
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _expect_request(self, already_read: bytes) -> None:
        self._parser = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        if already_read:
            self.data_received(already_read)

    def _read_request(self) -> None:
        try:
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Request):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage) and self._head:
                    self._serving = asyncio.create_task(self._answer(self._head, bytes(self._body)))
                    return
        except h11.RemoteProtocolError:
            self.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.close()

    async def _answer(self, head: h11.Request, body: bytes) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        path = head.target.decode("latin-1").partition("?")[0]
        await self.serve(Request(head.method.decode(), path, headers, body), self)
        if self._transport.is_closing():
            return
        await self.flush()
        self._serving = None
        if headers.get("connection", "").lower() == "close":
            self.close()
        else:
            self._expect_request(self._parser.trailing_data[0])
