"""The results as a picture: a dot for each subject on a logarithmic scale, as they lie orders of magnitude
apart. Plain SVG, in colours that suit a light page and a dark one."""

import math
from collections.abc import Callable, Iterator
from html import escape

from msgspec import Struct

from bench.results import Results, Row
from bench.run import DIRECT
from dev.local import ROOT

PATH = ROOT / "docs/images/bench.svg"

# A scale ends before its panel does: there is a label behind the last dot.
_NAMES, _PANEL, _SCALE = 290, 270, 185
_ROW, _TOP, _BOTTOM = 30, 58, 34
_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
    .line { stroke: #d1d9e0 }
    .other { fill: #818b98; stroke: #818b98 } .own { fill: #0969da; stroke: #0969da }
    .span { stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc } .small { fill: #9198a1 } .line { stroke: #3d444d }
      .other { fill: #9198a1; stroke: #9198a1 } .own { fill: #4493f8; stroke: #4493f8 }
    }
"""


class Panel(Struct, frozen=True):
    """`values` gives one figure of a row, or a median with its worst, or None."""

    title: str
    unit: str
    values: Callable[[Row], tuple[float, ...] | None]


def _first_token(row: Row) -> tuple[float, ...] | None:
    return (row.added.p50, row.added.p99) if row.added else None


def _cpu(row: Row) -> tuple[float, ...] | None:
    return (row.full_speed.cpu_seconds,) if row.full_speed else None


def _on_its_way(row: Row) -> tuple[float, ...] | None:
    return (row.paced.on_its_way.p50, row.paced.on_its_way.p99) if row.paced else None


PANELS = (
    Panel("Added time to first token", "ms, p50 to p99", _first_token),
    Panel("CPU per million tokens", "seconds, 32 streams at full speed", _cpu),
    Panel("A token's way through", "ms, p50 to p99, 200 paced streams", _on_its_way),
)


def save(results: Results) -> None:
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(svg(results), "utf-8")


def svg(results: Results) -> str:
    rows = {name: row for name, row in results.rows.items() if name != DIRECT}
    width = _NAMES + len(PANELS) * _PANEL
    height = _TOP + len(rows) * _ROW + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>What this project adds, beside a bare relay and LiteLLM</title>",
        f"<style>{_STYLE}</style>",
    ]
    for number, name in enumerate(rows):
        parts.append(
            f'<text x="{_NAMES - 20}" y="{_middle(number) + 4}" text-anchor="end">{escape(name)}</text>'
        )
    for number, panel in enumerate(PANELS):
        parts += _panel(panel, rows, _NAMES + number * _PANEL)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, rows: dict[str, Row], left: float) -> Iterator[str]:
    found = {name: values for name, row in rows.items() if (values := panel.values(row))}
    every = [max(value, 0.01) for values in found.values() for value in values]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    bottom = _TOP + len(rows) * _ROW

    def across(value: float) -> float:
        return left + (math.log10(max(value, 0.01)) - low) / max(1, high - low) * _SCALE

    yield f'<text class="title" x="{left}" y="18">{escape(panel.title)}</text>'
    yield f'<text class="small" x="{left}" y="36">{escape(panel.unit)}</text>'
    for power in range(low, high + 1):
        x = across(10.0**power)
        yield f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>'
        if (power - low) % (1 if high - low < 5 else 2) == 0:
            label = f"{10.0**power:,g}"
            yield f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
    for number, name in enumerate(rows):
        if name in found:
            at = [across(value) for value in found[name]]
            yield from _dots(name, at, _middle(number))
            label = " / ".join(f"{value:,.{1 if value < 100 else 0}f}" for value in found[name])
            yield f'<text class="small" x="{at[-1] + 9:.1f}" y="{_middle(number) + 4}">{label}</text>'


def _dots(name: str, at: list[float], y: float) -> Iterator[str]:
    kind = "own" if name.startswith("this") else "other"
    if len(at) > 1:
        yield f'<line class="{kind} span" x1="{at[0]:.1f}" x2="{at[-1]:.1f}" y1="{y}" y2="{y}"/>'
    for x, radius in zip(at, (5, 3), strict=False):
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="{radius}"/>'


def _middle(number: int) -> float:
    return _TOP + (number + 0.5) * _ROW
