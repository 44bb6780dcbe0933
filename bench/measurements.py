"""The measurements. Most of them measure a list of servers and return the results by server name."""

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from bench import http_client, load, servers
from bench.load import ConcurrentJob, ConcurrentResult, LoadTarget, SequentialJob
from bench.processes import Server, Usage, cpu_seconds, usage
from bench.results import Paced, Spread, Throughput
from bench.servers import Users

Measured = TypeVar("Measured")

_TOKENS = 200
FULL_SPEED = f"words-{_TOKENS}-0"
_STREAMS_AT_FULL_SPEED = 32
SEQUENTIAL_USERS = 20
_PACED_STREAMS = 200
_ENDURANCE_SAMPLES = 10
_PACED_PER_SECOND = 15_100  # tokens per second that the provider sends, all streams together
_PAUSE = _PACED_STREAMS / _PACED_PER_SECOND
_PACED = f"stamps-{_TOKENS}-{_PAUSE * 1_000_000:.0f}"


class MeasuredServer(Struct, frozen=True):
    """A server to measure. `target` makes the requests from a provider script and a number of streams.

    CPU and memory are those of the process `pid`.
    """

    name: str
    pid: int
    target: Callable[[str, int], LoadTarget]


def first_tokens(measured: Sequence[MeasuredServer], rounds: int) -> dict[str, Spread]:
    """The time to the first token, one turn at a time, over open connections.

    The turns rotate among several users, because a single user would exceed the rate limit.
    """
    targets = {server.name: server.target(FULL_SPEED, SEQUENTIAL_USERS) for server in measured}
    seconds = load.run_sequential(SequentialJob(targets, rounds))
    return {name: Spread.of(each) for name, each in seconds.items()}


def full_speed(measured: Sequence[MeasuredServer], rounds: int, turns: int) -> dict[str, Throughput]:
    """32 streams without pauses, each with `turns` turns of 200 tokens. Returns the medians of the rounds."""

    def measure(server: MeasuredServer) -> Throughput:
        target = server.target(FULL_SPEED, _STREAMS_AT_FULL_SPEED)
        cpu, done = _cpu_per_million(server, ConcurrentJob(target, turns, _TOKENS))
        return Throughput(cpu, done.tokens / done.seconds, sum(done.failures.values()))

    return {
        name: Throughput.median(results) for name, results in _in_rounds(measured, rounds, measure).items()
    }


def paced(measured: Sequence[MeasuredServer], rounds: int, turns: int) -> dict[str, Paced]:
    """200 streams, each with a token every 13 ms. They start at equal intervals within the time of one turn.

    Returns the medians of the rounds.
    """

    def measure(server: MeasuredServer) -> Paced:
        target = server.target(_PACED, _PACED_STREAMS)
        job = ConcurrentJob(target, turns, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True)
        cpu, done = _cpu_per_million(server, job)
        throughput = Throughput(cpu, done.steady_per_second, sum(done.failures.values()))
        return Paced(throughput, Spread.of(done.delays))

    return {name: Paced.median(results) for name, results in _in_rounds(measured, rounds, measure).items()}


def _in_rounds(
    measured: Sequence[MeasuredServer], rounds: int, measure: Callable[[MeasuredServer], Measured]
) -> dict[str, list[Measured]]:
    """Measures every server once in each round, so that a slow phase of the machine affects all of them."""
    results: dict[str, list[Measured]] = {server.name: [] for server in measured}
    for _ in range(rounds):
        for server in measured:
            results[server.name].append(measure(server))
    return results


def overhead(provider: MeasuredServer) -> dict[str, float]:
    """The share of a core that the provider and the load generator use for the paced streams.

    If the shares are far below 1, they do not limit the measured servers.
    """
    before = cpu_seconds(provider.pid)
    target = provider.target(_PACED, _PACED_STREAMS)
    done = load.run_concurrent(ConcurrentJob(target, 2, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True))
    spent = cpu_seconds(provider.pid) - before
    per_token = _PACED_PER_SECOND / done.tokens
    return {"provider": spent * per_token, "load": done.cpu_seconds * per_token}


def cold_starts(emulator: Server, users: Users, times: int) -> tuple[float, float]:
    """Returns the median seconds from the request that starts the function's process to the first token of a
    stored turn, and the peak memory of such a process in MiB."""
    seconds, peaks = [], []
    target = users.stored(FULL_SPEED, 1)
    for _ in range(times):
        _kill(servers.function_pid(emulator))
        with http_client.connect(target.port) as connection:
            first, _ = http_client.send_turn(connection, target.requests[0])
        seconds.append(first)
        pid = servers.function_pid(emulator)
        assert pid is not None
        peaks.append(usage(pid).peak)
    return statistics.median(seconds), max(peaks)


def endurance(server: MeasuredServer, turns: int) -> dict[int, Usage]:
    """Memory and descriptors of the process by the number of turns so far. Shows leaks."""
    target = server.target("words-20-0", _STREAMS_AT_FULL_SPEED)
    turns_per_stream = turns // _ENDURANCE_SAMPLES // _STREAMS_AT_FULL_SPEED
    results = {}
    for number in range(1, _ENDURANCE_SAMPLES + 1):
        load.run_concurrent(ConcurrentJob(target, turns_per_stream, 20))
        results[number * turns_per_stream * _STREAMS_AT_FULL_SPEED] = usage(server.pid)
    return results


def _cpu_per_million(server: MeasuredServer, job: ConcurrentJob) -> tuple[float, ConcurrentResult]:
    before = cpu_seconds(server.pid)
    done = load.run_concurrent(job)
    for reason, turns in done.failures.items():
        print(f"{server.name}: {turns} turns failed: {reason}", file=sys.stderr)
    return (cpu_seconds(server.pid) - before) / done.tokens * 1_000_000, done


def _kill(pid: int | None) -> None:
    """Kills a process and waits until the emulator has noticed its end."""
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
        time.sleep(0.01)
    time.sleep(0.1)
