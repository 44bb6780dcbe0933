"""The load generator: a process that reads one job from stdin and writes the result to stdout, as JSON.

It uses plain sockets, so that it leaves the CPU to the measured server.
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

from bench.http_client import (
    READ_BYTES,
    READ_TIMEOUT,
    StampCounter,
    TurnFailed,
    WordCounter,
    connect,
    send_turn,
)
from dev.local import ROOT


class LoadTarget(Struct, frozen=True):
    """A server on 127.0.0.1 and a complete HTTP request for each stream, which is sent in every turn."""

    port: int
    requests: list[bytes]


class SequentialJob(Struct, frozen=True, tag=True):
    """Sends one request at a time, to each target once per round. `warm_up` rounds before are not counted."""

    targets: dict[str, LoadTarget]
    rounds: int
    warm_up: int = 20


class ConcurrentJob(Struct, frozen=True, tag=True):
    """Runs all streams of one target at the same time, each for `turns` turns.

    The streams start at equal intervals within `spread` seconds. A turn fails if its response does not have
    `tokens` tokens. If `stamped`, each token is the time at which the provider sent it.
    """

    target: LoadTarget
    turns: int
    tokens: int
    spread: float = 0.0
    stamped: bool = False


class ConcurrentResult(Struct, frozen=True, tag=True):
    """The result of ConcurrentJob.

    `failures` is the number of failed turns by reason. `steady_per_second` is tokens per second while all
    streams were running. `delays` are the seconds between the write and the read of each token.
    `cpu_seconds` is the CPU time of the load generator.
    """

    tokens: int
    failures: dict[str, int]
    seconds: float
    steady_per_second: float
    delays: list[float]
    cpu_seconds: float


Job: TypeAlias = SequentialJob | ConcurrentJob


def run_sequential(job: SequentialJob) -> dict[str, list[float]]:
    """Returns the seconds to the first token of each turn, by target."""
    return msgspec.json.decode(_run(job), type=dict[str, list[float]])


def run_concurrent(job: ConcurrentJob) -> ConcurrentResult:
    return msgspec.json.decode(_run(job), type=ConcurrentResult)


def _run(job: Job) -> bytes:
    """Runs the job in a separate process. Raises TurnFailed."""
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, cwd=ROOT, input=msgspec.json.encode(job), capture_output=True, check=False)
    if done.returncode:
        raise TurnFailed(done.stderr.decode().strip().rpartition("\n")[2])
    return done.stdout


def _measure_sequential(job: SequentialJob) -> dict[str, list[float]]:
    connections = {name: connect(target.port) for name, target in job.targets.items()}
    seconds: dict[str, list[float]] = {name: [] for name in connections}
    for number in range(-job.warm_up, job.rounds):
        for name, target in job.targets.items():
            request = target.requests[number % len(target.requests)]
            first, _ = send_turn(connections[name], request)
            if number >= 0:
                seconds[name].append(first)
    return seconds


class _Stream:
    def __init__(self, port: int, request: bytes, turns: int, counter: WordCounter | StampCounter) -> None:
        self.counter = counter
        self.port = port
        self.connection = connect(port)
        self.request = request
        self.turns = turns
        self.has_response = False
        self.tokens = 0

    def start_turn(self) -> None:
        self.has_response = False
        self.tokens = 0
        self.connection.sendall(self.request)


class _Streams:
    """All streams of a job, and their totals."""

    def __init__(self, job: ConcurrentJob) -> None:
        self._job = job
        self._delays: list[float] = []
        self._streams = [
            _Stream(
                job.target.port,
                request,
                job.turns,
                StampCounter(self._delays) if job.stamped else WordCounter(),
            )
            for request in job.target.requests
        ]
        self._by_descriptor: dict[int, _Stream] = {}
        self._poll = select.epoll()
        for stream in self._streams:
            self._register(stream)
        self._started = 0
        self._streams_with_token = 0
        self._running = len(self._streams)
        self._tokens = 0
        self._failures: Counter[str] = Counter()
        # The time and the number of tokens when the last stream gets its first token, and when the first
        # stream ends.
        self._steady_from: tuple[float, int] | None = None
        self._steady_to: tuple[float, int] | None = None

    def run(self) -> ConcurrentResult:
        started = time.perf_counter()
        while self._running:
            timeout = self._start_due_streams(time.perf_counter() - started)
            ready = self._poll.poll(timeout)
            if not ready and timeout == READ_TIMEOUT:
                raise TurnFailed(f"{self._running} streams sent nothing")
            for descriptor, _ in ready:
                self._read(self._by_descriptor[descriptor])
        ended = time.perf_counter()
        start, before = self._steady_from or (started, 0)
        end, after = self._steady_to or (ended, self._tokens)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return ConcurrentResult(
            tokens=self._tokens,
            failures=self._failures,
            seconds=ended - started,
            steady_per_second=(after - before) / (end - start),
            delays=self._delays[before:after],
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )

    def _start_due_streams(self, elapsed: float) -> float:
        """Starts the streams that are due. Returns the seconds until the next stream is due, or READ_TIMEOUT
        when all streams have started."""
        interval = self._job.spread / len(self._streams)
        while self._started < len(self._streams):
            due = self._started * interval
            if elapsed < due:
                return due - elapsed
            self._streams[self._started].start_turn()
            self._started += 1
        return READ_TIMEOUT

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data or not (stream.has_response or data.startswith(b"HTTP/1.1 200")):
            self._fail(stream, data)
            return
        stream.has_response = True
        tokens = stream.counter.count(data)
        self._tokens += tokens
        stream.tokens += tokens
        if tokens and tokens == stream.tokens:  # the first token of this turn
            self._streams_with_token += stream.turns == self._job.turns
            if self._streams_with_token == len(self._streams) and not (self._steady_from or self._steady_to):
                self._steady_from = time.perf_counter(), self._tokens
        if stream.counter.complete:
            if stream.tokens != self._job.tokens:
                self._failures["wrong number of tokens"] += 1
            self._end(stream)

    def _register(self, stream: _Stream) -> None:
        self._by_descriptor[stream.connection.fileno()] = stream
        self._poll.register(stream.connection, select.EPOLLIN)

    def _fail(self, stream: _Stream, data: bytes) -> None:
        """Counts a failed turn and starts the next turn on a new connection. Raises TurnFailed if no stream
        has received a token yet."""
        if not self._tokens:
            raise TurnFailed(f"refused: {data[-400:]!r}")
        reason = b" ".join(data.splitlines()[:1] + data.splitlines()[-1:]).decode(errors="replace")
        reason = reason[:200] or ("response cut off" if stream.has_response else "no response")
        self._failures[reason] += 1
        self._poll.unregister(stream.connection)
        stream.connection.close()
        stream.connection = connect(stream.port)
        self._register(stream)
        self._end(stream)

    def _end(self, stream: _Stream) -> None:
        stream.turns -= 1
        if stream.turns:
            stream.start_turn()
            return
        # The client closes the connection: a server that closes the idle connection would count as a failure.
        self._poll.unregister(stream.connection)
        stream.connection.close()
        self._running -= 1
        if self._steady_from and not self._steady_to:
            self._steady_to = time.perf_counter(), self._tokens


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=SequentialJob | ConcurrentJob)
    result = _measure_sequential(job) if isinstance(job, SequentialJob) else _Streams(job).run()
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
