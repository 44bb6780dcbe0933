"""Groups the text of an answer by words, for clients that ask for fewer and larger events."""

import re
from collections.abc import Iterator, Sequence

from functions.chat_stream.dialects.base import Encoder
from shared.events import Event, Failed, Finished, TextDelta

# Text that is longer than this for each word of a group is sent at once, so that text without spaces is not
# held back.
_MAX_WORD = 100  # characters


class WordGroupEncoder:
    """Passes text to `encoder` in groups of `count` words, with the white space after them.

    The remaining words are sent before the last event. Words are never sent because of a timeout.
    """

    def __init__(self, encoder: Encoder, count: int) -> None:
        self._encoder = encoder
        self._group = re.compile(rf"\s*+(?:\S++\s++){{{count}}}")
        self._max_buffer = count * _MAX_WORD
        self._buffer = ""

    def encode(self, events: Sequence[Event]) -> bytes:
        return self._encoder.encode([*self._grouped(events)])

    def _grouped(self, events: Sequence[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case TextDelta():
                    self._buffer += event.text
                    yield from self._complete_groups()
                case Finished() | Failed():
                    if self._buffer:
                        yield TextDelta(self._buffer)
                    yield event
                case _:
                    yield event

    def _complete_groups(self) -> Iterator[Event]:
        start = 0
        while match := self._group.match(self._buffer, start):
            yield TextDelta(match[0])
            start = match.end()
        self._buffer = self._buffer[start:]
        if len(self._buffer) > self._max_buffer:
            yield TextDelta(self._buffer)
            self._buffer = ""
