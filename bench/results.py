"""What a run found, as `results.json` keeps it. Times in ms unless they say seconds, memory in MiB."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.processes import Usage
from bench.statements import Counts

PATH = Path(__file__).with_name("results.json")


class Spread(Struct, frozen=True):
    """The median, and what one in a hundred exceeds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(cuts[49] * 1000, cuts[98] * 1000)

    @classmethod
    def median(cls, rounds: Sequence["Spread"]) -> "Spread":
        return cls(
            statistics.median(each.p50 for each in rounds), statistics.median(each.p99 for each in rounds)
        )

    def minus(self, base: "Spread") -> "Spread":
        return Spread(self.p50 - base.p50, self.p99 - base.p99)


class FullSpeed(Struct, frozen=True):
    """CPU seconds of the subject's process per million tokens; tokens a second; turns that failed."""

    cpu_seconds: float
    per_second: float
    failed: int


class Paced(Struct, frozen=True):
    """The same, how long a token was on its way from the provider's write to the client's read, and the
    memory of the subject's process afterwards."""

    cpu_seconds: float
    per_second: float
    failed: int
    on_its_way: Spread
    resident: float


class Row(Struct, kw_only=True):
    """One subject's figures; None where it was not asked. `start_seconds` is until a first token."""

    first_token: Spread | None = None
    added: Spread | None = None
    full_speed: FullSpeed | None = None
    paced: Paced | None = None
    start_seconds: float | None = None
    peak: float | None = None


class Results(Struct, kw_only=True):
    """`overhead` is the share of one core that provider and load took while the paced streams ran directly;
    `endurance` the stored function's process as the turns went by; `encoders` events a second; `page` what
    the chat page weighs and how soon it is there, in words."""

    date: str
    machine: str
    versions: dict[str, str]
    rows: dict[str, Row]
    statements: dict[str, Counts]
    overhead: dict[str, float]
    endurance: dict[int, Usage]
    encoders: dict[str, float]
    page: list[tuple[str, str]]

    def save(self) -> None:
        kept = _rounded(msgspec.to_builtins(self, str_keys=True))
        PATH.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value
