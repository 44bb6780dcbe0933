"""The results of a run. Times are in ms unless the name says seconds. Memory is in MiB."""

import statistics
from collections.abc import Sequence

from msgspec import Struct

from bench.processes import Usage
from bench.statements import Counts


class Spread(Struct, frozen=True):
    """The median and the 99th percentile."""

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


class Throughput(Struct, frozen=True):
    """CPU seconds of the server's process per million tokens, tokens per second, and the number of failed
    turns."""

    cpu_seconds: float
    per_second: float
    failed: int

    @classmethod
    def median(cls, rounds: Sequence["Throughput"]) -> "Throughput":
        """The medians of the rounds, and the failed turns of all rounds."""
        return cls(
            statistics.median(each.cpu_seconds for each in rounds),
            statistics.median(each.per_second for each in rounds),
            sum(each.failed for each in rounds),
        )


class Paced(Struct, frozen=True):
    """Streams with pauses. `delay` is the time from the provider's write of a token to the client's read."""

    throughput: Throughput
    delay: Spread

    @classmethod
    def median(cls, rounds: Sequence["Paced"]) -> "Paced":
        return cls(
            Throughput.median([each.throughput for each in rounds]),
            Spread.median([each.delay for each in rounds]),
        )


class Row(Struct, kw_only=True):
    """The figures of one server, None if not measured.

    `added` is the added time to the first token. `start_seconds` is the time from the start of the process to
    the first token. `peak` is the peak memory of the process.
    """

    first_token: Spread | None = None
    added: Spread | None = None
    full_speed: Throughput | None = None
    paced: Paced | None = None
    start_seconds: float | None = None
    peak: float | None = None


class Results(Struct, kw_only=True):
    """The results of all measurements.

    `overhead` is the share of one core that the provider and the load generator use for paced streams without
    a server between them. `endurance` is the usage of the process by the number of stored turns so far.
    `encoders` are events per second by route. `page` are the names and values of the chat page's results.
    """

    date: str
    machine: str
    versions: dict[str, str]
    rows: dict[str, Row]
    statements: dict[str, Counts]
    overhead: dict[str, float]
    endurance: dict[int, Usage]
    encoders: dict[str, float]
    page: list[tuple[str, str]]
