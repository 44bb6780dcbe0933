"""A client of HTTP, as far as to ask, to see the end of an answer and to count tokens in it."""

import re
import socket
import time

from bench.provider import STAMP, WORD

READ_BYTES = 256 * 1024
PATIENCE = 60.0  # seconds without a byte

_WORD = WORD.encode()
_STAMP = re.compile(rb"~(\d{16})")
_STAMP_BYTES = len(STAMP % 0)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class NotAnswered(Exception):
    """A turn that is measured must be a good one."""


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, request: bytes) -> tuple[float, float, bytes]:
    """Seconds to the first word and to the end, and the whole response."""
    began = time.perf_counter()
    first = 0.0
    response = b""
    connection.sendall(request)
    while not response.endswith(_LAST_CHUNK):
        data = connection.recv(READ_BYTES)
        response += data
        if not first and _WORD in response:
            first = time.perf_counter() - began
        if not data or not response.startswith(b"HTTP/1.1 200"[: len(response)]):
            raise NotAnswered(f"refused: {response[-400:]!r}")
    return first, time.perf_counter() - began, response


class Words:
    """Counts the words of answers on one connection, wherever reads cut them."""

    def __init__(self) -> None:
        self._tail = b""

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        return self._tail.endswith(_LAST_CHUNK)

    def take(self, data: bytes) -> int:
        """The number of words that this read completes."""
        # The end of the last read, too short for a whole word, may hold the beginning of one.
        words = (self._tail[1 - len(_WORD) :] + data).count(_WORD)
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        return words


class Stamps:
    """The same for times of day. `delays` gets the seconds that each was on its way."""

    def __init__(self, delays: list[float]) -> None:
        self._delays = delays
        self._tail = b""

    @property
    def ended(self) -> bool:
        return self._tail.endswith(_LAST_CHUNK)

    def take(self, data: bytes) -> int:
        now = time.monotonic_ns() // 1000
        data = self._tail + data
        stamps = end = 0
        for stamp in _STAMP.finditer(data):
            stamps += 1
            end = stamp.end()
            self._delays.append((now - int(stamp[1])) / 1_000_000)
        # Too short for a whole stamp, and long enough for an answer's end.
        self._tail = data[max(end, len(data) - _STAMP_BYTES + 1) :]
        return stamps
