"""Starts the servers and takes all measurements."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from bench import encoders, http_client, measurements, page, servers, statements
from bench.http_client import TurnFailed
from bench.measurements import FULL_SPEED, MeasuredServer
from bench.processes import NotStarted, Server, usage
from bench.results import Results, Row
from bench.servers import Users, completions
from bench.statements import CountingProxy, Counts
from dev import postgres
from dev.postgres import LocalPostgres

DIRECT = "the provider, called directly"
RELAY = "a plain relay (uvicorn and httpx)"
LITELLM = "LiteLLM's proxy"
STATELESS, STORED = "this project, stateless", "this project, stored"
ON_LAMBDA = ", Lambda emulator"
_USERS = 200
# The turn has pauses, so that its first token is well before its end, but it is too short for a checkpoint.
_SLOW_TURN = "words-20-5000"


class Size(Struct, frozen=True, kw_only=True):
    """The numbers of turns, rounds and starts. Turns are per stream; `endurance_turns` are of all streams."""

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
        provider = stack.enter_context(servers.provider())
        database = stack.enter_context(servers.database())
        environ = servers.environment(database.url(postgres.APP), provider)
        rows: dict[str, Row] = {}
        direct = MeasuredServer(DIRECT, provider.pid, partial(completions, provider))
        _log("starts")
        relay_start = statistics.median(_relay_start(environ) for _ in range(size.starts))
        relay_server = stack.enter_context(servers.relay(environ))
        relay = MeasuredServer(RELAY, relay_server.pid, partial(completions, relay_server))
        uvicorn = stack.enter_context(servers.uvicorn(environ))
        users = Users.create(uvicorn, _USERS)
        stateless = MeasuredServer(STATELESS, uvicorn.pid, users.stateless)
        stored = MeasuredServer(STORED, uvicorn.pid, users.stored)
        emulator = stack.enter_context(servers.emulator(environ))
        lambda_users = Users.create(emulator, measurements.SEQUENTIAL_USERS)
        cold_start, cold_peak = measurements.cold_starts(emulator, lambda_users, size.starts)
        on_lambda = [
            MeasuredServer(STATELESS + ON_LAMBDA, _function(emulator), lambda_users.stateless),
            MeasuredServer(STORED + ON_LAMBDA, _function(emulator), lambda_users.stored),
        ]

        _measure([direct, relay, stateless, stored], on_lambda, rows, size)
        rows[RELAY].start_seconds = relay_start
        rows[STORED + ON_LAMBDA].start_seconds = cold_start
        rows[STORED + ON_LAMBDA].peak = max(cold_peak, usage(_function(emulator)).peak)
        _log("statements")
        counted = _count_statements(database, provider, size.counted_turns)
        _log("endurance")
        endurance = measurements.endurance(stored, size.endurance_turns)
        overhead = measurements.overhead(direct)
        if with_litellm:
            _log("LiteLLM")
            try:
                rows[LITELLM] = _litellm(direct, environ, size)
            except (NotStarted, TurnFailed) as error:
                _log(f"left out: {error}")  # the other results are valid
    _log("encoders")
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
    in_one_process: list[MeasuredServer], on_lambda: list[MeasuredServer], rows: dict[str, Row], size: Size
) -> None:
    """Fills `rows`. The added time is relative to the first server.

    A Lambda process has one request at a time. Only its time to the first token is measured.
    """
    _log("first tokens")
    first = measurements.first_tokens([*in_one_process, *on_lambda], size.first_tokens)
    for server in (*in_one_process, *on_lambda):
        row = rows.setdefault(server.name, Row())
        row.first_token = first[server.name]
        row.added = first[server.name].minus(first[in_one_process[0].name])
    _log("full speed")
    for name, at_full_speed in measurements.full_speed(
        in_one_process, size.rounds, size.full_speed_turns
    ).items():
        rows[name].full_speed = at_full_speed
    _log("paced streams")
    for name, paced in measurements.paced(in_one_process, size.rounds, size.paced_turns).items():
        rows[name].paced = paced
    for server in in_one_process:
        rows[server.name].peak = usage(server.pid).peak


def _litellm(direct: MeasuredServer, environ: Mapping[str, str], size: Size) -> Row:
    """Measures fewer turns, because a turn takes twelve times as long as with the other servers."""
    started = time.perf_counter()
    with servers.litellm(environ) as server:
        start = time.perf_counter() - started + _first_token(server)
        proxy = MeasuredServer(LITELLM, server.pid, partial(completions, server))
        first = measurements.first_tokens([direct, proxy], size.first_tokens // 6)
        full_speed = measurements.full_speed([proxy], 1, max(1, size.full_speed_turns // 20))
        paced = measurements.paced([proxy], 1, 1)
        return Row(
            first_token=first[LITELLM],
            added=first[LITELLM].minus(first[DIRECT]),
            full_speed=full_speed[LITELLM],
            paced=paced[LITELLM],
            start_seconds=start,
            peak=usage(server.pid).peak,
        )


def _relay_start(environ: Mapping[str, str]) -> float:
    started = time.perf_counter()
    with servers.relay(environ) as server:
        return time.perf_counter() - started + _first_token(server)


def _first_token(server: Server) -> float:
    """Seconds to the first token of the server's first turn."""
    with http_client.connect(server.port) as connection:
        first, _ = http_client.send_turn(connection, completions(server, FULL_SPEED, 1).requests[0])
    return first


def _count_statements(database: LocalPostgres, provider: Server, turns: int) -> dict[str, Counts]:
    with (
        CountingProxy(database) as proxy,
        servers.uvicorn(servers.environment(proxy.url, provider)) as server,
    ):
        users = Users.create(server, 1)
        return {
            STATELESS: statements.counts(proxy, users.stateless(_SLOW_TURN, 1), turns),
            STORED: statements.counts(proxy, users.stored(_SLOW_TURN, 1), turns),
        }


def _function(emulator: Server) -> int:
    pid = servers.function_pid(emulator)
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
        command = [str(servers.LITELLM.with_name("python")), "-c", code]
        versions["litellm"] = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    return {"python": sys.version.split()[0], **versions}


def _log(message: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {message}", file=sys.stderr, flush=True)
