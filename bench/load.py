"""The load: a process of its own that reads one job on stdin and writes what came of it on stdout, as JSON.

It knows HTTP only as far as to see the beginning and the end of an answer and to count tokens in it, and
waits on plain sockets, so that it takes little of the machine that it measures on.
"""

import resource
import select
import subprocess
import sys
import time
from collections import Counter
from typing import TypeAlias

import msgspec
from msgspec import Struct

from bench.answers import PATIENCE, READ_BYTES, NotAnswered, Stamps, Words, ask, connect
from dev.local import ROOT


class ModelTarget(Struct, frozen=True):
    """Whom to ask on 127.0.0.1, and the whole requests: one of them for each stream, sent again and again."""

    port: int
    requests: list[bytes]


class InTurn(Struct, frozen=True, tag=True):
    """One request after the other: each target once in each round. The first rounds are not counted."""

    targets: dict[str, ModelTarget]
    rounds: int
    warm_up: int = 20


class AtOnce(Struct, frozen=True, tag=True):
    """All requests of one target at once, each `turns` times. They begin within `spread` seconds.

    An answer of another number of tokens than `tokens` has failed. `stamped` answers say when each token
    was sent, and so for how long it was on its way.
    """

    target: ModelTarget
    turns: int
    tokens: int
    spread: float = 0.0
    stamped: bool = False


class FirstTokens(Struct, frozen=True, tag=True):
    """Seconds to the first token, and to the end, by target."""

    first: dict[str, list[float]]
    whole: dict[str, list[float]]


class Delivered(Struct, frozen=True, tag=True):
    """Tokens in all; how many turns failed, by how they did; tokens a second, while all streams ran; seconds
    that each was on its way; the load's own CPU seconds."""

    tokens: int
    failures: dict[str, int]
    seconds: float
    steady_per_second: float
    delays: list[float]
    cpu_seconds: float


Job: TypeAlias = InTurn | AtOnce
Outcome: TypeAlias = FirstTokens | Delivered


def in_turn(job: InTurn) -> FirstTokens:
    """Runs such a job in a process of its own."""
    return msgspec.json.decode(_run(job), type=FirstTokens)


def at_once(job: AtOnce) -> Delivered:
    """Runs such a job in a process of its own."""
    return msgspec.json.decode(_run(job), type=Delivered)


def _run(job: Job) -> bytes:
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, cwd=ROOT, input=msgspec.json.encode(job), capture_output=True, check=False)
    if done.returncode:
        raise NotAnswered(done.stderr.decode().strip().rpartition("\n")[2])
    return done.stdout


def _measure_in_turn(job: InTurn) -> FirstTokens:
    connections = {name: connect(target.port) for name, target in job.targets.items()}
    result = FirstTokens({name: [] for name in connections}, {name: [] for name in connections})
    for number in range(-job.warm_up, job.rounds):
        for name, target in job.targets.items():
            request = target.requests[number % len(target.requests)]
            first, whole, _ = ask(connections[name], request)
            if number >= 0:
                result.first[name].append(first)
                result.whole[name].append(whole)
    return result


class _Stream:
    def __init__(self, port: int, request: bytes, turns: int, counter: Words | Stamps) -> None:
        self.counter = counter
        self.port = port
        self.connection = connect(port)
        self.request = request
        self.turns = turns
        self.answered = False
        self.tokens = 0

    def ask(self) -> None:
        self.answered = False
        self.tokens = 0
        self.connection.sendall(self.request)


class _Crowd:
    """All streams of a job, and the sums over them."""

    def __init__(self, job: AtOnce) -> None:
        self._job = job
        self._delays: list[float] = []
        self._streams = [
            _Stream(job.target.port, request, job.turns, Stamps(self._delays) if job.stamped else Words())
            for request in job.target.requests
        ]
        self._by_descriptor: dict[int, _Stream] = {}
        self._poll = select.epoll()
        for stream in self._streams:
            self._listen_to(stream)
        self._started = 0
        self._speaking = 0
        self._running = len(self._streams)
        self._tokens = 0
        self._failures: Counter[str] = Counter()
        # From when all streams spoke until the first of them had said all: the time, and tokens by then.
        self._steady_from: tuple[float, int] | None = None
        self._steady_to: tuple[float, int] | None = None

    def run(self) -> Delivered:
        began = time.perf_counter()
        while self._running:
            patience = self._start_those_due(time.perf_counter() - began)
            ready = self._poll.poll(patience)
            if not ready and patience == PATIENCE:
                raise NotAnswered(f"{self._running} streams went silent")
            for descriptor, _ in ready:
                self._read(self._by_descriptor[descriptor])
        ended = time.perf_counter()
        start, before = self._steady_from or (began, 0)
        end, after = self._steady_to or (ended, self._tokens)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Delivered(
            tokens=self._tokens,
            failures=self._failures,
            seconds=ended - began,
            steady_per_second=(after - before) / (end - start),
            delays=self._delays[before:after],
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )

    def _start_those_due(self, elapsed: float) -> float:
        """Seconds until the next is due, or those that silence is borne with when all have started."""
        between = self._job.spread / len(self._streams)
        while self._started < len(self._streams):
            due = self._started * between
            if elapsed < due:
                return due - elapsed
            self._streams[self._started].ask()
            self._started += 1
        return PATIENCE

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data or not (stream.answered or data.startswith(b"HTTP/1.1 200")):
            self._fail(stream, data)
            return
        stream.answered = True
        tokens = stream.counter.take(data)
        self._tokens += tokens
        stream.tokens += tokens
        if tokens and tokens == stream.tokens:  # its first
            self._speaking += stream.turns == self._job.turns
            if self._speaking == len(self._streams) and not (self._steady_from or self._steady_to):
                self._steady_from = time.perf_counter(), self._tokens
        if stream.counter.ended:
            if stream.tokens != self._job.tokens:
                self._failures["ended early"] += 1
            self._end(stream)

    def _listen_to(self, stream: _Stream) -> None:
        self._by_descriptor[stream.connection.fileno()] = stream
        self._poll.register(stream.connection, select.EPOLLIN)

    def _fail(self, stream: _Stream, data: bytes) -> None:
        """Counts it, and goes on with the next turn on another connection. The first must not fail."""
        if not self._tokens:
            raise NotAnswered(f"refused: {data[-400:]!r}")
        how = b" ".join(data.splitlines()[:1] + data.splitlines()[-1:]).decode(errors="replace")
        how = how[:200] or ("broken off" if stream.answered else "hung up on")
        self._failures[how] += 1
        self._poll.unregister(stream.connection)
        stream.connection.close()
        stream.connection = connect(stream.port)
        self._listen_to(stream)
        self._end(stream)

    def _end(self, stream: _Stream) -> None:
        stream.turns -= 1
        if stream.turns:
            stream.ask()
            return
        # A server hangs up on who asks nothing more: that is no failure.
        self._poll.unregister(stream.connection)
        stream.connection.close()
        self._running -= 1
        if self._steady_from and not self._steady_to:
            self._steady_to = time.perf_counter(), self._tokens


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=InTurn | AtOnce)
    outcome = _measure_in_turn(job) if isinstance(job, InTurn) else _Crowd(job).run()
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
