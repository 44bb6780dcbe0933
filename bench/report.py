"""Writes the results as Markdown tables into docs/performance.md."""

from pathlib import Path

from bench import encoders
from bench.results import Paced, Results, Row, Spread, Throughput
from bench.run import DIRECT, RELAY, STORED
from dev.local import ROOT

PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
_EMPTY = ""


def markdown(results: Results) -> str:
    """The results as tables and sentences."""
    parts = [
        _heading(results),
        _table(results.rows),
        _statements(results),
        _endurance(results),
        _overhead(results),
        encoders.table(results.encoders),
        _page(results),
    ]
    return "\n\n".join(filter(None, parts))


def update(results: Results, page: Path = PAGE) -> None:
    """Replaces the results of the last run."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", "utf-8")


def _heading(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"Measured on {results.date}: {results.machine}; {versions}."


def _table(rows: dict[str, Row]) -> str:
    titles = (
        "added time to first token, p50 / p99",
        "CPU seconds per million tokens at full speed",
        "200 paced streams: tokens per second; delay of a token p50 / p99; CPU seconds per million tokens",
        "start to first token",
        "peak memory",
    )
    lines = [f"| | {' | '.join(titles)} |", f"| --- |{' --- |' * len(titles)}"]
    base = rows[RELAY]
    for name, row in rows.items():
        cells = [
            name,
            _added(name, row, base),
            _full_speed(row.full_speed, base.full_speed if name not in {DIRECT, RELAY} else None),
            _paced(row.paced),
            f"{row.start_seconds:.2f} s" if row.start_seconds else _EMPTY,
            f"{row.peak:.0f} MiB" if row.peak else _EMPTY,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _added(name: str, row: Row, base: Row) -> str:
    if row.first_token is None or row.added is None:
        return _EMPTY
    if name == DIRECT:
        return f"({_spread(row.first_token)} in total)"
    ratio = "" if name == RELAY or base.added is None else f" ({row.added.p50 / base.added.p50:.1f} x)"
    return _spread(row.added) + ratio


def _full_speed(result: Throughput | None, base: Throughput | None) -> str:
    if result is None:
        return _EMPTY
    ratio = "" if base is None else f" ({result.cpu_seconds / base.cpu_seconds:.1f} x)"
    digits = 1 if result.cpu_seconds < 100 else 0
    return f"{result.cpu_seconds:,.{digits}f}{ratio}{_failed(result.failed)}"


def _paced(result: Paced | None) -> str:
    if result is None:
        return _EMPTY
    throughput = result.throughput
    return (
        f"{throughput.per_second / 1000:.1f}k; {_spread(result.delay)}; {throughput.cpu_seconds:,.0f}"
        f"{_failed(throughput.failed)}"
    )


def _spread(spread: Spread) -> str:
    digits = 2 if spread.p50 < 10 else 0
    return f"{spread.p50:,.{digits}f} / {spread.p99:,.{digits}f} ms"


def _failed(turns: int) -> str:
    return f"; {turns} turns failed" if turns else ""


def _statements(results: Results) -> str:
    lines = [
        "| Postgres in one turn | before the first token | after the first token |",
        "| --- | --- | --- |",
    ]
    for name, counts in results.statements.items():
        lines.append(
            f"| {name} | statements: {counts.statements_before:g}, round trips: {counts.round_trips_before:g}"
            f" | statements: {counts.statements_after:g}, round trips: {counts.round_trips_after:g} |"
        )
    return "\n".join(lines)


def _endurance(results: Results) -> str:
    (first, early), (last, late) = min(results.endurance.items()), max(results.endurance.items())
    return (
        f"The process of “{STORED}” has {early.resident:.1f} MiB and {early.descriptors} descriptors"
        f" after {first:,} turns with 32 streams,"
        f" and {late.resident:.1f} MiB and {late.descriptors} descriptors after {last:,}."
    )


def _overhead(results: Results) -> str:
    return (
        "With the paced streams and no server between them, the provider uses"
        f" {results.overhead['provider']:.0%} of a core and the load generator"
        f" {results.overhead['load']:.0%}. They do not limit the measured servers."
    )


def _page(results: Results) -> str:
    lines = [
        "| the chat page | |",
        "| --- | ---: |",
        *(f"| {name} | {value} |" for name, value in results.page),
    ]
    return "\n".join(lines) if results.page else ""
