"""Measures how many events per second each dialect encodes on one core, and prints a table.

Each event is the text of one token. The encoder gets eight events at a time, about as many as one read from a
fast provider contains.
"""

import time
from collections.abc import Mapping, Sequence

from functions.chat_stream.dialects import DIALECTS
from functions.chat_stream.dialects.base import AnswerMeta, Dialect
from functions.chat_stream.request import TurnRequest
from shared.events import Event, TextDelta
from shared.llm.wire_format import ChatMessage

_WORDS = (
    "Let's",
    " look",
    " at",
    " how",
    " you",
    " slept",
    ",",
    " and",
    " why",
    ".",
    "\n\n",
    " naïve",
    " 睡眠",
)
_EVENTS = 10_000
_EVENTS_PER_READ = 8
_ROUNDS = 5

_META = AnswerMeta("0b8f5f0e-7c3a-4f5e-9b0a-3f1f6c0d2a11", "anthropic/claude-sonnet-5-5", 1_700_000_000)
_REQUEST = TurnRequest(messages=(ChatMessage("user", "Hi"),))


def events_per_second(dialect: Dialect) -> float:
    """The rate of the fastest round, because other programs on the machine only make a round slower."""
    events = [TextDelta(_WORDS[number % len(_WORDS)]) for number in range(_EVENTS)]
    reads = [events[start : start + _EVENTS_PER_READ] for start in range(0, _EVENTS, _EVENTS_PER_READ)]
    return _EVENTS / min(_seconds(dialect, reads) for _ in range(_ROUNDS))


def _seconds(dialect: Dialect, reads: Sequence[Sequence[Event]]) -> float:
    encoder = dialect.encoder(_REQUEST, _META)
    started = time.perf_counter()
    for events in reads:
        encoder.encode(events)
    return time.perf_counter() - started


def measure() -> dict[str, float]:
    """Events per second, by route."""
    return {dialect.route: events_per_second(dialect) for dialect in DIALECTS}


def table(speeds: Mapping[str, float]) -> str:
    lines = ["| format | events per second on one core | µs per event |", "| --- | ---: | ---: |"]
    for route, speed in speeds.items():
        lines.append(f"| `{route}` | {speed:,.0f} | {1_000_000 / speed:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
