"""A small HTTP client: it sends a request, finds the end of the answer and counts the tokens in it."""

import re
import socket
import time

from bench.provider import STAMP, WORD

READ_BYTES = 256 * 1024
READ_TIMEOUT = 60.0  # seconds to wait for a byte

_WORD = WORD.encode()
_STAMP = re.compile(rb"~(\d{16})")
_STAMP_BYTES = len(STAMP % 0)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class NotAnswered(Exception):
    """A turn was refused, or it broke off. Only complete turns are measured."""


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=READ_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, request: bytes) -> tuple[float, bytes]:
    """Returns the seconds to the first word, and the whole response. Raises NotAnswered."""
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
    return first, response


class Words:
    """Counts the words of the answers on one connection. Reads may split them at any byte."""

    def __init__(self) -> None:
        self._tail = b""

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self._tail.endswith(_LAST_CHUNK)

    def take(self, data: bytes) -> int:
        """The number of words that this read completes."""
        # The last read may end with the start of a word. The part that is kept is shorter than a word.
        words = (self._tail[1 - len(_WORD) :] + data).count(_WORD)
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        return words


class Stamps:
    """Counts time stamps. Appends to `delays` the seconds since each one was written."""

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
        # The part that is kept is shorter than a stamp, and long enough for the end of an answer.
        self._tail = data[max(end, len(data) - _STAMP_BYTES + 1) :]
        return stamps
