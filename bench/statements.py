"""Counts the statements and round trips of a turn, with a proxy that reads the messages to Postgres.

Source of the message format: PostgreSQL documentation, "Frontend/Backend Protocol".
"""

import contextlib
import socket
import statistics
import threading
import time
from urllib.parse import urlsplit

from msgspec import Struct

from bench import http_client
from bench.load import LoadTarget
from dev import postgres
from dev.postgres import LocalPostgres

_QUERY, _EXECUTE, _SYNC = b"QES"


class Counts(Struct, frozen=True):
    """The statements and round trips of a turn, before and after the first token, as medians."""

    statements_before: float
    round_trips_before: float
    statements_after: float
    round_trips_after: float


class CountingProxy:
    """Forwards connections to the Unix socket of `server`.

    `messages` has the time and the type of each Query, Execute and Sync message from the client. Execute is a
    statement, Sync waits for a reply, and Query is both.
    """

    def __init__(self, server: LocalPostgres, database: str = postgres.DATABASE) -> None:
        self.messages: list[tuple[float, int]] = []
        self._path = f"{server.socket_folder}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = urlsplit(server.url(postgres.APP)).username
        self.url = f"postgresql://{user}@127.0.0.1:{self._listener.getsockname()[1]}/{database}"

    def __enter__(self) -> "CountingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()
                threading.Thread(target=_copy, args=(server, client), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        unparsed = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                now = time.perf_counter()
                server.sendall(data)
                unparsed = self._parse(unparsed + data, now)
        server.close()

    def _parse(self, data: bytes, now: float) -> bytes:
        """Records the complete messages in `data` and returns the remaining bytes."""
        while len(data) >= 5:
            # The first message of a connection has no type. It starts with its length, whose first byte is 0.
            type_bytes = 1 if data[0] else 0
            size = type_bytes + int.from_bytes(data[type_bytes : type_bytes + 4], "big")
            if len(data) < size:
                break
            if data[0] in {_QUERY, _EXECUTE, _SYNC}:
                self.messages.append((now, data[0]))
            data = data[size:]
        return data


def counts(proxy: CountingProxy, target: LoadTarget, turns: int) -> Counts:
    """Measures `turns` turns with the first request of `target`.

    The provider must pause after each word, because the time of a message decides whether it counts as before
    or after the first token.
    """
    sides: list[tuple[list[int], list[int]]] = []
    with http_client.connect(target.port) as connection:
        http_client.send_turn(connection, target.requests[0])  # the first turn opens the connections
        for _ in range(turns):
            proxy.messages.clear()
            started = time.perf_counter()
            first, _ = http_client.send_turn(connection, target.requests[0])
            messages, first_token_at = list(proxy.messages), started + first
            sides.append(
                (
                    [kind for at, kind in messages if at < first_token_at],
                    [kind for at, kind in messages if at > first_token_at],
                )
            )
    before, after = zip(*sides, strict=True)
    return Counts(
        statements_before=_median(before, {_QUERY, _EXECUTE}),
        round_trips_before=_median(before, {_QUERY, _SYNC}),
        statements_after=_median(after, {_QUERY, _EXECUTE}),
        round_trips_after=_median(after, {_QUERY, _SYNC}),
    )


def _median(turns: tuple[list[int], ...], kinds: set[int]) -> float:
    return statistics.median(sum(kind in kinds for kind in turn) for turn in turns)


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
    to.close()
