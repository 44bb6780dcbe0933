"""Counts the statements and round trips of a turn, by a proxy in front of Postgres that reads its messages
(PostgreSQL documentation, "Frontend/Backend Protocol")."""

import contextlib
import socket
import statistics
import threading
import time
from urllib.parse import urlsplit

from msgspec import Struct

from bench import answers
from bench.load import ModelTarget
from dev import postgres
from dev.postgres import LocalPostgres

_QUERY, _EXECUTE, _SYNC = b"QES"


class Counts(Struct, frozen=True):
    """Medians of one turn: statements and round trips before and after the first token."""

    statements_before: float
    round_trips_before: float
    statements_after: float
    round_trips_after: float


class CountingProxy:
    """Forwards connections to the Unix socket of `server`. `seen` are the times and types of the messages
    that are a statement or wait for a reply."""

    def __init__(self, server: LocalPostgres, database: str = postgres.DATABASE) -> None:
        self.seen: list[tuple[float, int]] = []
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
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()
                threading.Thread(target=_copy, args=(server, client), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        unread = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                now = time.perf_counter()
                server.sendall(data)
                unread = self._take(unread + data, now)
        server.close()

    def _take(self, data: bytes, now: float) -> bytes:
        """Counts the whole messages in `data` and returns the rest."""
        while len(data) >= 5:
            # Only the first message of a connection has no type: it starts with a length, whose first byte
            # is 0.
            kind = 1 if data[0] else 0
            size = kind + int.from_bytes(data[kind : kind + 4], "big")
            if len(data) < size:
                break
            if data[0] in {_QUERY, _EXECUTE, _SYNC}:
                self.seen.append((now, data[0]))
            data = data[size:]
        return data


def counts(proxy: CountingProxy, target: ModelTarget, turns: int) -> Counts:
    """The words of the answers must have pauses between them, which separate the messages before the first
    token from those after it."""
    sides: list[tuple[list[int], list[int]]] = []
    with answers.connect(target.port) as connection:
        answers.ask(connection, target.requests[0])  # the first turn opens connections
        for _ in range(turns):
            proxy.seen.clear()
            started = time.perf_counter()
            first, _ = answers.ask(connection, target.requests[0])
            seen, split = list(proxy.seen), started + first
            sides.append(
                ([kind for at, kind in seen if at < split], [kind for at, kind in seen if at > split])
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
