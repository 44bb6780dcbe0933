"""The measurements, each over whatever subjects it is given. In every round each of them has its turn, so
that a change of the machine's mood does not favour one."""

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from bench import answers, load, subjects
from bench.load import AtOnce, Delivered, InTurn, ModelTarget
from bench.processes import Served, Usage, cpu_seconds, usage
from bench.results import FullSpeed, Paced, Spread
from bench.subjects import Users

_TOKENS = 200
AS_FAST_AS_CAN_BE = f"words-{_TOKENS}-0"
_STREAMS_AT_FULL_SPEED = 32
USERS_IN_TURN = 20
_PACED_STREAMS = 200
_PACED_PER_SECOND = 15_100  # offered, all streams together
_PAUSE = _PACED_STREAMS / _PACED_PER_SECOND
_PACED = f"stamps-{_TOKENS}-{_PAUSE * 1_000_000:.0f}"


class Subject(Struct, frozen=True):
    """`target` makes the requests for a provider's script and a number of streams; what is counted is the
    CPU of `pid`."""

    name: str
    pid: int
    target: Callable[[str, int], ModelTarget]


def first_tokens(asked: Sequence[Subject], rounds: int) -> dict[str, Spread]:
    """To the first token of a turn, one turn at a time, over warm connections; by users in turn, as no user
    asks hundreds of times a minute."""
    targets = {subject.name: subject.target(AS_FAST_AS_CAN_BE, USERS_IN_TURN) for subject in asked}
    outcome = load.in_turn(InTurn(targets, rounds))
    return {name: Spread.of(seconds) for name, seconds in outcome.first.items()}


def full_speed(asked: Sequence[Subject], rounds: int, turns: int) -> dict[str, FullSpeed]:
    """32 streams, each `turns` turns of 200 tokens, as fast as they go; the median of the rounds."""
    found: dict[str, list[FullSpeed]] = {subject.name: [] for subject in asked}
    for _ in range(rounds):
        for subject in asked:
            target = subject.target(AS_FAST_AS_CAN_BE, _STREAMS_AT_FULL_SPEED)
            cpu, done = _cpu_per_million(subject, AtOnce(target, turns, _TOKENS))
            found[subject.name].append(
                FullSpeed(cpu, done.tokens / done.seconds, sum(done.failures.values()))
            )
    return {
        name: FullSpeed(
            statistics.median(each.cpu_seconds for each in several),
            statistics.median(each.per_second for each in several),
            sum(each.failed for each in several),
        )
        for name, several in found.items()
    }


def paced(asked: Sequence[Subject], rounds: int, turns: int) -> dict[str, Paced]:
    """200 streams, a token each in 13 ms, begun one after the other in the time that a turn takes."""
    found: dict[str, list[Paced]] = {subject.name: [] for subject in asked}
    for _ in range(rounds):
        for subject in asked:
            target = subject.target(_PACED, _PACED_STREAMS)
            job = AtOnce(target, turns, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True)
            cpu, done = _cpu_per_million(subject, job)
            way, resident = Spread.of(done.delays), usage(subject.pid).resident
            found[subject.name].append(
                Paced(cpu, done.steady_per_second, sum(done.failures.values()), way, resident)
            )
    return {
        name: Paced(
            statistics.median(each.cpu_seconds for each in several),
            statistics.median(each.per_second for each in several),
            sum(each.failed for each in several),
            Spread.median([each.on_its_way for each in several]),
            max(each.resident for each in several),
        )
        for name, several in found.items()
    }


def overhead(provider: Subject) -> dict[str, float]:
    """The share of a core that provider and load take by themselves with the paced streams: as long as it is
    far from 1, they are not what is measured."""
    before = cpu_seconds(provider.pid)
    target = provider.target(_PACED, _PACED_STREAMS)
    done = load.at_once(AtOnce(target, 2, _TOKENS, spread=_PAUSE * _TOKENS, stamped=True))
    spent = cpu_seconds(provider.pid) - before
    per_token = _PACED_PER_SECOND / done.tokens
    return {"provider": spent * per_token, "load": done.cpu_seconds * per_token}


def cold_starts(emulator: Served, users: Users, times: int) -> tuple[float, float]:
    """From the request that starts the function's process to the first token of a stored turn, the median
    in seconds; and the most memory that such a process took, in MiB."""
    seconds, peaks = [], []
    target = users.stored(AS_FAST_AS_CAN_BE, 1)
    for _ in range(times):
        _kill(subjects.function_pid(emulator))
        with answers.connect(target.port) as connection:
            first, _, _ = answers.ask(connection, target.requests[0])
        seconds.append(first)
        pid = subjects.function_pid(emulator)
        assert pid is not None
        peaks.append(usage(pid).peak)
    return statistics.median(seconds), max(peaks)


def endurance(subject: Subject, turns: int, samples: int = 10) -> dict[int, Usage]:
    """The process after each part of the turns, which are short: what one leaves behind would show."""
    target = subject.target("words-20-0", _STREAMS_AT_FULL_SPEED)
    each = turns // samples // _STREAMS_AT_FULL_SPEED
    found = {}
    for number in range(1, samples + 1):
        load.at_once(AtOnce(target, each, 20))
        found[number * each * _STREAMS_AT_FULL_SPEED] = usage(subject.pid)
    return found


def _cpu_per_million(subject: Subject, job: AtOnce) -> tuple[float, Delivered]:
    before = cpu_seconds(subject.pid)
    done = load.at_once(job)
    for how, turns in done.failures.items():
        print(f"{subject.name}: {turns} turns failed: {how}", file=sys.stderr)
    return (cpu_seconds(subject.pid) - before) / done.tokens * 1_000_000, done


def _kill(pid: int | None) -> None:
    """Returns when the emulator has noticed."""
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
        time.sleep(0.01)
    time.sleep(0.1)
