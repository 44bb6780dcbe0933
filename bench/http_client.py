"""A small HTTP client: sends a request, finds the end of the streamed response and counts its tokens."""

import re
import socket
import time

from bench.provider import STAMP, WORD

READ_BYTES = 256 * 1024
READ_TIMEOUT = 60.0  # seconds

_WORD = WORD.encode()
_STAMP = re.compile(rb"~(\d{16})")
_STAMP_BYTES = len(STAMP % 0)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class TurnFailed(Exception):
    """A turn was refused, or its response ended early."""


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=READ_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send_turn(connection: socket.socket, request: bytes) -> tuple[float, bytes]:
    """Returns the seconds to the first word and the complete response. Raises TurnFailed."""
    started = time.perf_counter()
    first = 0.0
    response = b""
    connection.sendall(request)
    while not response.endswith(_LAST_CHUNK):
        data = connection.recv(READ_BYTES)
        response += data
        if not first and _WORD in response:
            first = time.perf_counter() - started
        if not data or not response.startswith(b"HTTP/1.1 200"[: len(response)]):
            raise TurnFailed(f"refused: {response[-400:]!r}")
    return first, response


class WordCounter:
    """Counts the words in the responses on one connection. A read may end inside a word."""

    def __init__(self) -> None:
        self._tail = b""

    @property
    def complete(self) -> bool:
        """Whether the response is complete."""
        return self._tail.endswith(_LAST_CHUNK)

    def count(self, data: bytes) -> int:
        """Returns the number of words that end in `data`, the bytes of one read."""
        # The bytes kept from the last read are shorter than a word, so that no word is counted twice.
        words = (self._tail[1 - len(_WORD) :] + data).count(_WORD)
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        return words


class StampCounter:
    """Counts the time stamps in the responses on one connection.

    Appends the seconds between the write and the read of each time stamp to `delays`.
    """

    def __init__(self, delays: list[float]) -> None:
        self._delays = delays
        self._tail = b""

    @property
    def complete(self) -> bool:
        return self._tail.endswith(_LAST_CHUNK)

    def count(self, data: bytes) -> int:
        now = time.monotonic_ns() // 1000
        data = self._tail + data
        stamps = end = 0
        for stamp in _STAMP.finditer(data):
            stamps += 1
            end = stamp.end()
            self._delays.append((now - int(stamp[1])) / 1_000_000)
        # The kept bytes are shorter than a time stamp and long enough for the last chunk.
        self._tail = data[max(end, len(data) - _STAMP_BYTES + 1) :]
        return stamps
