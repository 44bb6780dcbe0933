"""What the decoders of all providers do alike: end once, bear odd JSON, make text fit to be stored.

What a provider's events mean is the business of its own file.
"""

import json
from abc import ABC, abstractmethod
from typing import TypeVar

import msgspec

from shared.errors import UpstreamError, UpstreamInvalid, UpstreamTruncated
from shared.events import Event, Failed, Finished, FinishReason, ReasoningDelta, TextDelta
from shared.sse import ServerSentEvent, SSEDecoder, SSEError

T = TypeVar("T")

_NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What an integer column of the database holds.
_MAX_COUNT = 2**31 - 1


class AnswerDecoder(ABC):
    """A `Decoder`: subclasses read, and say what they found by the methods that begin with an underscore.

    Text comes out without NUL, which Postgres refuses, and without lone surrogates, which UTF-8 cannot
    hold; U+FFFD stands for them. Two halves of a character that came in two deltas are joined.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ended = False
        self._half = ""  # the first half of a surrogate pair, at the end of the last delta
        self._half_kind: type[TextDelta | ReasoningDelta] = TextDelta

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        self._events = events
        if not self._ended:
            self._read(data)
        return events

    def close(self) -> list[Event]:
        events: list[Event] = []
        self._events = events
        if not self._ended:
            self._stream_over()
        return events

    @abstractmethod
    def _read(self, data: bytes) -> None: ...

    def _stream_over(self) -> None:
        """Nothing more comes, and no end has been seen."""
        self._fail_truncated()

    # What is printable holds neither NUL nor surrogates, and is the rule.
    def _text(self, text: str) -> None:
        if self._half or not text.isprintable():
            text = self._mend(TextDelta, text)
        if text:
            self._events.append(TextDelta(text))

    def _thinking(self, text: str) -> None:
        if self._half or not text.isprintable():
            text = self._mend(ReasoningDelta, text)
        if text:
            self._events.append(ReasoningDelta(text))

    def _finish(self, reason: FinishReason) -> None:
        self._end(Finished(reason))

    def _fail(self, error: UpstreamError) -> None:
        self._end(Failed(error.code, error.message, error.retryable))

    def _fail_truncated(self) -> None:
        self._fail(UpstreamTruncated("the model provider's answer ended before its end mark"))

    def _fail_invalid(self) -> None:
        self._fail(UpstreamInvalid("the model provider sent what is not its wire format"))

    def _mend(self, kind: type[TextDelta | ReasoningDelta], text: str) -> str:
        if kind is not self._half_kind:
            self._give_up_half()
            self._half_kind = kind
        text = self._half + text.replace("\0", _REPLACEMENT)
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text.removesuffix(self._half)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _give_up_half(self) -> None:
        if self._half:
            self._events.append(self._half_kind(_REPLACEMENT))
            self._half = ""

    def _end(self, event: Finished | Failed) -> None:
        self._give_up_half()
        self._events.append(event)
        self._ended = True


class SSEAnswerDecoder(AnswerDecoder):
    """An answer as server-sent events; empty ones, which some servers keep connections alive with,
    are passed over."""

    def __init__(self) -> None:
        super().__init__()
        self._sse = SSEDecoder()

    @abstractmethod
    def _take(self, data: bytes) -> None:
        """One event's data."""

    def _read(self, data: bytes) -> None:
        try:
            self._take_all(self._sse.feed(data))
        except SSEError as fault:
            self._take_all(fault.events)
            if not self._ended:
                self._fail_invalid()

    def _take_all(self, events: list[ServerSentEvent]) -> None:
        for event in events:
            if event.data:
                self._take(event.data)
                if self._ended:
                    return


def parse(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """One JSON value as the decoder's type; None if it is not one.

    What msgspec refuses gets a second, slower look: a model's text may hold lone surrogates or a
    broken character, and servers are careless with control characters and the types of numbers.
    """
    try:
        return decoder.decode(data)
    except _NOT_JSON:
        return _second_look(decoder.type, data)


def count(tokens: int | None) -> int:
    """A number of tokens as it can be stored and paid for, whatever a server says."""
    return min(max(tokens or 0, 0), _MAX_COUNT)


def _second_look(kind: type[T], data: bytes) -> T | None:
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False)
        return msgspec.convert(value, kind, strict=False)
    except _NOT_JSON:
        return None
