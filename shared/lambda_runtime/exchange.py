"""HTTP/1.1 requests and their answers, one after the other over a connection.

For the Runtime API: local, plain, and with bodies that are written over minutes. h11 keeps the
protocol's state; the framing of chunks, the one thing done per token, is done here (0.1 against 2 µs).
"""

import asyncio
from dataclasses import dataclass
from typing import cast

import h11

_MAX_HEAD_BYTES = 256 * 1024  # The Runtime API sends client context and identity in headers.


@dataclass(frozen=True)
class Answer:
    """Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange(asyncio.Protocol):
    """`answer`, to the last request, becomes None when the connection breaks or is refused; it never
    raises. An answer may come before the request is all written: from then on writing does nothing."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer | None] = loop.create_future()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._head: h11.Response | None = None
        self._body = bytearray()

    @classmethod
    async def connect(cls, address: str) -> "Exchange":
        """`address` is host:port."""
        host, _, port = address.rpartition(":")
        exchange = cls()
        try:
            await asyncio.get_running_loop().create_connection(lambda: exchange, host, int(port))
        except OSError:
            exchange._answered(None)
        return exchange

    def again(self) -> bool:
        """Readies the connection for another request, if both ends are done with the last and stay."""
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        unasked, _ = self._http.trailing_data
        if not done or unasked or self._transport is None or self._transport.is_closing():
            return False
        self._http.start_next_cycle()
        self.answer = asyncio.get_running_loop().create_future()
        self._head = None
        self._body = bytearray()
        return True

    def begin(self, method: str, target: str, *headers: tuple[str, str]) -> None:
        """Sends a request's head; a GET is then complete."""
        self._send(h11.Request(method=method, target=target, headers=list(headers)))
        if method == "GET":
            self._send(h11.EndOfMessage())

    def write_all(self, body: bytes) -> None:
        """The whole body of a request with a Content-Length."""
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())

    async def write_chunk(self, data: bytes) -> None:
        """One chunk of a chunked body, never empty, in one write; waits while too much is unsent."""
        if self._transport is None or self._transport.is_closing() or self.answer.done():
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writable.wait()

    def end_chunks(self, *trailers: tuple[str, str]) -> None:
        self._send(h11.EndOfMessage(headers=list(trailers)))

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        if self._transport and not self.answer.done():
            self._transport.write(self._http.send(event) or b"")

    def _answered(self, answer: Answer | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        self._http.receive_data(b"")
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._answered(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read(self) -> None:
        try:
            while not self.answer.done():
                event = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage) and self._head:
                    self._answered(self._complete(self._head))
                elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return
        except h11.RemoteProtocolError:
            self.close()

    def _complete(self, head: h11.Response) -> Answer:
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, headers, bytes(self._body))
