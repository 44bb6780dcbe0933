"""The client side of an HTTP/1.1 connection, which is used for one request after the other.

It is for the Runtime API: a local server without TLS, whose request bodies may take minutes to send. h11
keeps the state of the protocol. Chunks are framed without h11, because a chunk is sent for each token: 0.1 µs
instead of 2 µs.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

import h11

_MAX_HEAD_BYTES = 256 * 1024  # The Runtime API sends client context and identity in headers.


@dataclass(frozen=True)
class HttpResponse:
    """A whole response. The names in `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpConnection(asyncio.Protocol):
    """One connection.

    `response` is a future with the response to the current request. Its result is None if the connection
    fails. Awaiting it never raises. A server may respond before the request is complete. From then on the
    methods that send do nothing.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.response: asyncio.Future[HttpResponse | None] = loop.create_future()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._head: h11.Response | None = None
        self._body = bytearray()

    @classmethod
    async def connect(cls, address: str) -> "HttpConnection":
        """Connects to `address`, which is host:port. Never raises: see `response`."""
        host, _, port = address.rpartition(":")
        connection = cls()
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, host, int(port))
        except OSError:
            connection._set_response(None)
        return connection

    def start_next_cycle(self) -> bool:
        """Prepares the connection for another request. Returns False if the last request is not complete, one
        side has closed the connection, or the server has sent unexpected bytes."""
        complete = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        unexpected_bytes, _ = self._http.trailing_data
        if not complete or unexpected_bytes or self._transport is None or self._transport.is_closing():
            return False
        self._http.start_next_cycle()
        self.response = asyncio.get_running_loop().create_future()
        self._head = None
        self._body = bytearray()
        return True

    def send_head(self, method: str, target: str, *headers: tuple[str, str]) -> None:
        """Sends the request line and the headers. A GET request is then complete."""
        self._send(h11.Request(method=method, target=target, headers=list(headers)))
        if method == "GET":
            self._send(h11.EndOfMessage())

    def send_body(self, body: bytes) -> None:
        """Sends the whole body of a request that has a Content-Length."""
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())

    async def send_chunk(self, data: bytes) -> None:
        """Sends one chunk of a chunked body in one write. Waits while the write buffer is full.

        `data` is not empty: an empty chunk would end the body.
        """
        if self._transport is None or self._transport.is_closing() or self.response.done():
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writable.wait()

    def send_last_chunk(self, *trailers: tuple[str, str]) -> None:
        """Ends a chunked body."""
        self._send(h11.EndOfMessage(headers=list(trailers)))

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        if self._transport and not self.response.done():
            self._transport.write(self._http.send(event) or b"")

    def _set_response(self, response: HttpResponse | None) -> None:
        if not self.response.done():
            self.response.set_result(response)
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._read_events()

    def eof_received(self) -> None:
        self._http.receive_data(b"")
        self._read_events()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._set_response(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read_events(self) -> None:
        try:
            while not self.response.done():
                event = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage) and self._head:
                    self._set_response(self._whole_response(self._head))
                elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return
        except h11.RemoteProtocolError:
            self.close()

    def _whole_response(self, head: h11.Response) -> HttpResponse:
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return HttpResponse(head.status_code, headers, bytes(self._body))
