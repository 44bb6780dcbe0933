"""One run: starts the servers and takes the measurements, in order."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from bench import answers, encoders, measures, page, statements, subjects
from bench.answers import NotAnswered
from bench.measures import FULL_SPEED, Subject
from bench.processes import NotStarted, Server, usage
from bench.results import Results, Row
from bench.statements import CountingProxy, Counts
from bench.subjects import Users, completions
from dev import postgres
from dev.postgres import LocalPostgres

DIRECT = "the provider, called directly"
RELAY = "a bare relay of httpx's bytes"
LITELLM = "LiteLLM's proxy"
STATELESS, STORED = "this project, stateless", "this project, stored"
ON_LAMBDA = ", Lambda emulator"
_USERS = 200
# A turn whose first token comes long before its end, and which is too short for a checkpoint.
_SLOW_TURN = "words-20-5000"


class Size(Struct, frozen=True, kw_only=True):
    """The numbers of turns, rounds and starts. Turns are those of each stream, `endurance_turns` of all."""

    first_tokens: int
    rounds: int
    full_speed_turns: int
    paced_turns: int
    starts: int
    counted_turns: int
    endurance_turns: int


FULL = Size(
    first_tokens=600,
    rounds=3,
    full_speed_turns=40,
    paced_turns=4,
    starts=7,
    counted_turns=50,
    endurance_turns=20_000,
)
QUICK = Size(
    first_tokens=100,
    rounds=1,
    full_speed_turns=10,
    paced_turns=2,
    starts=3,
    counted_turns=10,
    endurance_turns=1_600,
)


def run(size: Size, *, with_litellm: bool) -> Results:
    with ExitStack() as stack:
        provider = stack.enter_context(subjects.provider())
        database = stack.enter_context(subjects.database())
        environ = subjects.environment(database.url(postgres.APP), provider)
        rows: dict[str, Row] = {}
        direct = Subject(DIRECT, provider.pid, lambda *asked: completions(provider, *asked))
        _say("starts")
        relay_start = statistics.median(_relay_start(environ) for _ in range(size.starts))
        relayed = stack.enter_context(subjects.relay(environ))
        relay = Subject(RELAY, relayed.pid, lambda *asked: completions(relayed, *asked))
        own = stack.enter_context(subjects.uvicorn(environ))
        users = Users.create(own, _USERS)
        stateless = Subject(STATELESS, own.pid, users.stateless)
        stored = Subject(STORED, own.pid, users.stored)
        emulator = stack.enter_context(subjects.emulator(environ))
        lambda_users = Users.create(emulator, measures.SEQUENTIAL_USERS)
        cold_start, cold_peak = measures.cold_starts(emulator, lambda_users, size.starts)
        on_lambda = [
            Subject(STATELESS + ON_LAMBDA, _function(emulator), lambda_users.stateless),
            Subject(STORED + ON_LAMBDA, _function(emulator), lambda_users.stored),
        ]

        _measure([direct, relay, stateless, stored], on_lambda, rows, size)
        rows[RELAY].start_seconds = relay_start
        rows[STORED + ON_LAMBDA].start_seconds = cold_start
        rows[STORED + ON_LAMBDA].peak = max(cold_peak, usage(_function(emulator)).peak)
        _say("statements")
        counted = _count_statements(database, provider, size.counted_turns)
        _say("endurance")
        endurance = measures.endurance(stored, size.endurance_turns)
        overhead = measures.overhead(direct)
        if with_litellm:
            _say("LiteLLM")
            try:
                rows[LITELLM] = _litellm(direct, environ, size)
            except (NotStarted, NotAnswered) as error:
                _say(f"left out: {error}")  # the other results stay valid
    _say("encoders")
    return Results(
        date=datetime.now(UTC).date().isoformat(),
        machine=_machine(),
        versions=_versions(with_litellm=with_litellm),
        rows=rows,
        statements=counted,
        overhead=overhead,
        endurance=endurance,
        encoders=encoders.measure(),
        page=page.measure(),
    )


def _measure(
    in_one_process: list[Subject], on_lambda: list[Subject], rows: dict[str, Row], size: Size
) -> None:
    """Fills `rows`. The first subject is the base of the added time. A process on Lambda has one request at a
    time, so that only the first tokens are measured there."""
    _say("first tokens")
    first = measures.first_tokens([*in_one_process, *on_lambda], size.first_tokens)
    for subject in (*in_one_process, *on_lambda):
        row = rows.setdefault(subject.name, Row())
        row.first_token = first[subject.name]
        row.added = first[subject.name].minus(first[in_one_process[0].name])
    _say("full speed")
    for name, at_full_speed in measures.full_speed(
        in_one_process, size.rounds, size.full_speed_turns
    ).items():
        rows[name].full_speed = at_full_speed
    _say("paced streams")
    for name, paced in measures.paced(in_one_process, size.rounds, size.paced_turns).items():
        rows[name].paced = paced
    for subject in in_one_process:
        rows[subject.name].peak = usage(subject.pid).peak


def _litellm(direct: Subject, environ: Mapping[str, str], size: Size) -> Row:
    """Takes fewer turns, because one turn takes as long as twelve of the others."""
    started = time.perf_counter()
    with subjects.litellm(environ) as served:
        start = time.perf_counter() - started + _first_token(served)
        proxy = Subject(LITELLM, served.pid, lambda *asked: completions(served, *asked))
        first = measures.first_tokens([direct, proxy], size.first_tokens // 6)
        full_speed = measures.full_speed([proxy], 1, max(1, size.full_speed_turns // 20))
        paced = measures.paced([proxy], 1, 1)
        return Row(
            first_token=first[LITELLM],
            added=first[LITELLM].minus(first[DIRECT]),
            full_speed=full_speed[LITELLM],
            paced=paced[LITELLM],
            start_seconds=start,
            peak=usage(served.pid).peak,
        )


def _relay_start(environ: Mapping[str, str]) -> float:
    started = time.perf_counter()
    with subjects.relay(environ) as served:
        return time.perf_counter() - started + _first_token(served)


def _first_token(served: Server) -> float:
    """Seconds to the first token of the server's first turn."""
    with answers.connect(served.port) as connection:
        first, _ = answers.ask(connection, completions(served, FULL_SPEED, 1).requests[0])
    return first


def _count_statements(database: LocalPostgres, provider: Server, turns: int) -> dict[str, Counts]:
    with (
        CountingProxy(database) as proxy,
        subjects.uvicorn(subjects.environment(proxy.url, provider)) as served,
    ):
        users = Users.create(served, 1)
        return {
            STATELESS: statements.counts(proxy, users.stateless(_SLOW_TURN, 1), turns),
            STORED: statements.counts(proxy, users.stored(_SLOW_TURN, 1), turns),
        }


def _function(emulator: Server) -> int:
    pid = subjects.function_pid(emulator)
    assert pid is not None
    return pid


def _machine() -> str:
    processors = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return f"{len(processors)} cores, {processors[0]}" if processors else "unknown"


def _versions(*, with_litellm: bool) -> dict[str, str]:
    versions = {
        name: metadata.version(name) for name in ("uvicorn", "uvloop", "starlette", "httpx", "psycopg")
    }
    if with_litellm:
        code = "from importlib import metadata; print(metadata.version('litellm'))"
        command = [str(subjects.LITELLM.with_name("python")), "-c", code]
        versions["litellm"] = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    return {"python": sys.version.split()[0], **versions}


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)
