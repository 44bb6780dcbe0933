"""Groups the text of an answer by words, for a client that asks for fewer and larger events."""

import re
from collections.abc import Iterator, Sequence

from functions.chat_stream.dialects.base import Encoder
from shared.events import Event, Failed, Finished, TextDelta

# Held text that is longer than this for each word of a group is sent at once, so that text without spaces is
# not held back.
_LONGEST_WORD = 100  # characters


class WordGroupEncoder:
    """Passes text to `encoder` in groups of `count` words, each with the white space after it.

    The last event is preceded by the words that are left. There is no timer.
    """

    def __init__(self, encoder: Encoder, count: int) -> None:
        self._encoder = encoder
        self._group = re.compile(rf"\s*+(?:\S++\s++){{{count}}}")
        self._longest = count * _LONGEST_WORD
        self._held = ""

    def encode(self, events: Sequence[Event]) -> bytes:
        return self._encoder.encode([*self._grouped(events)])

    def _grouped(self, events: Sequence[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case TextDelta():
                    self._held += event.text
                    yield from self._complete_groups()
                case Finished() | Failed():
                    if self._held:
                        yield TextDelta(self._held)
                    yield event
                case _:
                    yield event

    def _complete_groups(self) -> Iterator[Event]:
        start = 0
        while match := self._group.match(self._held, start):
            yield TextDelta(match[0])
            start = match.end()
        self._held = self._held[start:]
        if len(self._held) > self._longest:
            yield TextDelta(self._held)
            self._held = ""
