"""An answer's text, some words at a time: fewer and larger events for a client that wants them so."""

import re
from collections.abc import Iterator, Sequence

from functions.chat_stream.dialects.base import Encoder
from shared.events import Event, Failed, Finished, TextDelta

# No word is longer. What is, and what has no spaces between words, is given out unfinished.
_LONGEST_WORD = 100  # characters


class WordsEncoder:
    """Has `encoder` write texts of `count` words each, with the space behind them. What is left over goes
    out before the end. Nothing waits for a clock."""

    def __init__(self, encoder: Encoder, count: int) -> None:
        self._encoder = encoder
        self._words = re.compile(rf"\s*+(?:\S++\s++){{{count}}}")
        self._longest = count * _LONGEST_WORD
        self._held = ""

    def encode(self, events: Sequence[Event]) -> bytes:
        return self._encoder.encode([*self._regroup(events)])

    def _regroup(self, events: Sequence[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case TextDelta():
                    self._held += event.text
                    yield from self._whole_ones()
                case Finished() | Failed():
                    if self._held:
                        yield TextDelta(self._held)
                    yield event
                case _:
                    yield event

    def _whole_ones(self) -> Iterator[Event]:
        start = 0
        while found := self._words.match(self._held, start):
            yield TextDelta(found[0])
            start = found.end()
        self._held = self._held[start:]
        if len(self._held) > self._longest:
            yield TextDelta(self._held)
            self._held = ""
