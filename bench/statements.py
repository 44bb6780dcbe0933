"""What a turn asks of Postgres: a proxy before it that counts, by Postgres's message format (PostgreSQL
documentation, "Frontend/Backend Protocol")."""

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
    """Of one turn, in the middle of many: statements and round trips until the first token and after it."""

    statements_before: float
    round_trips_before: float
    statements_after: float
    round_trips_after: float


class CountingProxy:
    """Forwards to the server's Unix socket. `seen` are the messages that are a statement or wait for a
    reply, with the time they came at."""

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
        """What is left of it: a message that is not whole yet."""
        while len(data) >= 5:
            # Only what a connection begins with has no type, but a length at once, which is a small one.
            kind = 1 if data[0] else 0
            size = kind + int.from_bytes(data[kind : kind + 4], "big")
            if len(data) < size:
                break
            if data[0] in {_QUERY, _EXECUTE, _SYNC}:
                self.seen.append((now, data[0]))
            data = data[size:]
        return data


def counts(proxy: CountingProxy, target: ModelTarget, turns: int) -> Counts:
    """The answers must pause between their words: so it is known on which side of the first something was."""
    sides: list[tuple[list[int], list[int]]] = []
    with answers.connect(target.port) as connection:
        answers.ask(connection, target.requests[0])  # opens what a first turn opens
        for _ in range(turns):
            proxy.seen.clear()
            began = time.perf_counter()
            first, _, _ = answers.ask(connection, target.requests[0])
            seen, split = list(proxy.seen), began + first
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
