"""The measurements. Each one takes a list of subjects and returns the figures by the subject's name."""

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from bench import answers, load, subjects
from bench.load import ConcurrentJob, ConcurrentResult, ModelTarget, SequentialJob
from bench.processes import Server, Usage, cpu_seconds, usage
from bench.results import Paced, Spread, Throughput
from bench.subjects import Users

Measured = TypeVar("Measured")

_TOKENS = 200
FULL_SPEED = f"words-{_TOKENS}-0"
_STREAMS_AT_FULL_SPEED = 32
SEQUENTIAL_USERS = 20
_PACED_STREAMS = 200
_SAMPLES = 10  # of endurance
_PACED_PER_SECOND = 15_100  # offered, all streams together
_PAUSE = _PACED_STREAMS / _PACED_PER_SECOND
_PACED = f"stamps-{_TOKENS}-{_PAUSE * 1_000_000:.0f}"


class Subject(Struct, frozen=True):
    """A server to measure. `target` makes the requests for a script of the provider and a number of streams.
    The CPU is that of the process `pid`."""

    name: str
    pid: int
    target: Callable[[str, int], ModelTarget]


def first_tokens(asked: Sequence[Subject], rounds: int) -> dict[str, Spread]:
    """The time to the first token, one turn at a time, over open connections. Users take turns, because a
    single user would meet the rate limit."""
    targets = {subject.name: subject.target(FULL_SPEED, SEQUENTIAL_USERS) for subject in asked}
    seconds = load.run_sequential(SequentialJob(targets, rounds))
    return {name: Spread.of(each) for name, each in seconds.items()}


def full_speed(asked: Sequence[Subject], rounds: int, turns: int) -> dict[str, Throughput]:
    """32 streams without pauses, each of `turns` turns of 200 tokens. Medians of the rounds."""

    def measure(subject: Subject) -> Throughput:
        target = subject.target(FULL_SPEED, _STREAMS_AT_FULL_SPEED)
        cpu, done = _cpu_per_million(subject, ConcurrentJob(target, turns, _TOKENS))
        return Throughput(cpu, done.tokens / done.seconds, sum(done.failures.values()))

    return {name: Throughput.median(found) for name, found in _in_rounds(asked, rounds, measure).items()}


def paced(asked: Sequence[Subject], rounds: int, turns: int) -> dict[str, Paced]:
    """200 streams, each with a token every 13 ms. Their starts are spread over the time of one turn. Medians
    of the rounds."""

    def measure(subject: Subject) -> Paced:
        target = subject.target(_PACED, _PACED_STREAMS)
        job = ConcurrentJob(target, turns, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True)
        cpu, done = _cpu_per_million(subject, job)
        throughput = Throughput(cpu, done.steady_per_second, sum(done.failures.values()))
        return Paced(throughput, Spread.of(done.delays))

    return {name: Paced.median(found) for name, found in _in_rounds(asked, rounds, measure).items()}


def _in_rounds(
    asked: Sequence[Subject], rounds: int, measure: Callable[[Subject], Measured]
) -> dict[str, list[Measured]]:
    """Measures every subject once in each round, so that a slow phase of the machine meets all of them."""
    found: dict[str, list[Measured]] = {subject.name: [] for subject in asked}
    for _ in range(rounds):
        for subject in asked:
            found[subject.name].append(measure(subject))
    return found


def overhead(provider: Subject) -> dict[str, float]:
    """The share of a core that the provider and the load take for the paced streams. Far below 1, they do not
    limit the subjects."""
    before = cpu_seconds(provider.pid)
    target = provider.target(_PACED, _PACED_STREAMS)
    done = load.run_concurrent(ConcurrentJob(target, 2, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True))
    spent = cpu_seconds(provider.pid) - before
    per_token = _PACED_PER_SECOND / done.tokens
    return {"provider": spent * per_token, "load": done.cpu_seconds * per_token}


def cold_starts(emulator: Server, users: Users, times: int) -> tuple[float, float]:
    """The median time in seconds from the request that starts the function's process to the first token of a
    stored turn, and the most memory of such a process in MiB."""
    seconds, peaks = [], []
    target = users.stored(FULL_SPEED, 1)
    for _ in range(times):
        _kill(subjects.function_pid(emulator))
        with answers.connect(target.port) as connection:
            first, _ = answers.ask(connection, target.requests[0])
        seconds.append(first)
        pid = subjects.function_pid(emulator)
        assert pid is not None
        peaks.append(usage(pid).peak)
    return statistics.median(seconds), max(peaks)


def endurance(subject: Subject, turns: int) -> dict[int, Usage]:
    """The memory and descriptors of the process, ten times during short turns. A leak would show."""
    target = subject.target("words-20-0", _STREAMS_AT_FULL_SPEED)
    each = turns // _SAMPLES // _STREAMS_AT_FULL_SPEED
    found = {}
    for number in range(1, _SAMPLES + 1):
        load.run_concurrent(ConcurrentJob(target, each, 20))
        found[number * each * _STREAMS_AT_FULL_SPEED] = usage(subject.pid)
    return found


def _cpu_per_million(subject: Subject, job: ConcurrentJob) -> tuple[float, ConcurrentResult]:
    before = cpu_seconds(subject.pid)
    done = load.run_concurrent(job)
    for how, turns in done.failures.items():
        print(f"{subject.name}: {turns} turns failed: {how}", file=sys.stderr)
    return (cpu_seconds(subject.pid) - before) / done.tokens * 1_000_000, done


def _kill(pid: int | None) -> None:
    """Kills a process and waits until the emulator knows."""
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
        time.sleep(0.01)
    time.sleep(0.1)
