"""How many events a second each dialect writes on one core: prints a table, within five seconds.

An event is a piece of text of a token's length, and eight of them are written at a time, about as many
as one read from a busy provider brings.
"""

import time
from collections.abc import Sequence

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
_AT_ONCE = 8
_ROUNDS = 5

_HEAD = AnswerMeta("0b8f5f0e-7c3a-4f5e-9b0a-3f1f6c0d2a11", "anthropic/claude-sonnet-5-5", 1_700_000_000)
_ASK = TurnRequest(messages=(ChatMessage("user", "Hi"),))


def events_per_second(dialect: Dialect, ask: TurnRequest = _ASK) -> float:
    """The best of some rounds, each with an encoder of its own: the others were disturbed."""
    events = [TextDelta(_WORDS[number % len(_WORDS)]) for number in range(_EVENTS)]
    reads = [events[start : start + _AT_ONCE] for start in range(0, _EVENTS, _AT_ONCE)]
    return _EVENTS / min(_seconds(dialect, ask, reads) for _ in range(_ROUNDS))


def _seconds(dialect: Dialect, ask: TurnRequest, reads: Sequence[Sequence[Event]]) -> float:
    encoder = dialect.encoder(ask, _HEAD)
    began = time.perf_counter()
    for events in reads:
        encoder.encode(events)
    return time.perf_counter() - began


def main() -> None:
    print("| format | events a second | µs an event |\n| --- | ---: | ---: |")
    for dialect in DIALECTS:
        speed = events_per_second(dialect)
        print(f"| `{dialect.route}` | {speed:,.0f} | {1_000_000 / speed:.2f} |")


if __name__ == "__main__":
    main()
