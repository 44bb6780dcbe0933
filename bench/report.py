"""Writes the results as Markdown tables into docs/performance.md."""

from pathlib import Path

from bench import encoders
from bench.results import Paced, Results, Row, Spread, Throughput
from bench.run import DIRECT, RELAY, STORED
from dev.local import ROOT

PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
_NONE = ""


def markdown(results: Results) -> str:
    """The table of subjects, and the other results in tables and sentences."""
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
        "200 paced streams: tokens/s delivered; on their way p50 / p99; CPU seconds per million",
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
            f"{row.start_seconds:.2f} s" if row.start_seconds else _NONE,
            f"{row.peak:.0f} MiB" if row.peak else _NONE,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _added(name: str, row: Row, base: Row) -> str:
    if row.first_token is None or row.added is None:
        return _NONE
    if name == DIRECT:
        return f"({_spread(row.first_token)} in all)"
    times = "" if name == RELAY or base.added is None else f" ({row.added.p50 / base.added.p50:.1f} x)"
    return _spread(row.added) + times


def _full_speed(found: Throughput | None, base: Throughput | None) -> str:
    if found is None:
        return _NONE
    times = "" if base is None else f" ({found.cpu_seconds / base.cpu_seconds:.1f} x)"
    digits = 1 if found.cpu_seconds < 100 else 0
    return f"{found.cpu_seconds:,.{digits}f}{times}{_failed(found.failed)}"


def _paced(found: Paced | None) -> str:
    if found is None:
        return _NONE
    throughput = found.throughput
    return (
        f"{throughput.per_second / 1000:.1f}k; {_spread(found.on_its_way)}; {throughput.cpu_seconds:,.0f}"
        f"{_failed(throughput.failed)}"
    )


def _spread(spread: Spread) -> str:
    digits = 2 if spread.p50 < 10 else 0
    return f"{spread.p50:,.{digits}f} / {spread.p99:,.{digits}f} ms"


def _failed(turns: int) -> str:
    return f"; {turns} turns failed" if turns else ""


def _statements(results: Results) -> str:
    lines = ["| a turn asks Postgres | before the first token | after it |", "| --- | --- | --- |"]
    for name, counts in results.statements.items():
        lines.append(
            f"| {name} | {counts.statements_before:g} statement in {counts.round_trips_before:g} round trip"
            f" | {counts.statements_after:g} in {counts.round_trips_after:g} |"
        )
    return "\n".join(lines)


def _endurance(results: Results) -> str:
    (first, early), (last, late) = min(results.endurance.items()), max(results.endurance.items())
    return (
        f"The process of “{STORED}” after {first:,} turns with 32 streams: {early.resident:.1f} MiB and"
        f" {early.descriptors} descriptors; after {last:,}: {late.resident:.1f} MiB and {late.descriptors}."
    )


def _overhead(results: Results) -> str:
    return (
        "With the paced streams and nothing between them, the provider takes"
        f" {results.overhead['provider']:.0%} of a core and the load {results.overhead['load']:.0%}:"
        " they do not limit the subjects."
    )


def _page(results: Results) -> str:
    lines = [
        "| the chat page | |",
        "| --- | ---: |",
        *(f"| {name} | {value} |" for name, value in results.page),
    ]
    return "\n".join(lines) if results.page else ""
