"""The base class of all decoders. It makes sure that an answer ends once, that JSON is parsed tolerantly, and
that the database can store the text."""

import json
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import msgspec

from shared.errors import UpstreamError, UpstreamInvalid, UpstreamTruncated
from shared.events import Event, Failed, Finished, FinishReason, ReasoningDelta, TextDelta
from shared.sse import SSEDecoder, SSEError

T = TypeVar("T")

_NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# The largest value of an integer column in Postgres.
_MAX_COUNT = 2**31 - 1


class AnswerDecoder(ABC):
    """A `Decoder`. Subclasses decode a wire format and report what they find with `_add_text` and the other
    methods.

    Text has no NUL, which Postgres refuses, and no lone surrogates, which UTF-8 cannot encode: both become
    U+FFFD. Two halves of a surrogate pair that came in two deltas are joined.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ended = False
        # The first half of a surrogate pair at the end of the last delta, and the kind of that delta.
        self._high_surrogate = ""
        self._high_surrogate_kind: type[TextDelta | ReasoningDelta] = TextDelta

    def feed(self, data: bytes) -> list[Event]:
        events = self._events = []
        if not self._ended:
            self._decode(data)
        return events

    def close(self) -> list[Event]:
        events = self._events = []
        if not self._ended:
            self._decode_end()
        return events

    @abstractmethod
    def _decode(self, data: bytes) -> None: ...

    def _decode_end(self) -> None:
        """Called when the stream ends before the answer has."""
        self._fail_truncated()

    def _add_text(self, text: str) -> None:
        # A fast check: printable text has neither NUL nor surrogates.
        if self._high_surrogate or not text.isprintable():
            text = self._clean(TextDelta, text)
        if text:
            self._events.append(TextDelta(text))

    def _add_reasoning(self, text: str) -> None:
        if self._high_surrogate or not text.isprintable():
            text = self._clean(ReasoningDelta, text)
        if text:
            self._events.append(ReasoningDelta(text))

    def _finish(self, reason: FinishReason) -> None:
        self._end(Finished(reason))

    def _fail(self, error: UpstreamError) -> None:
        self._end(Failed(error.code, error.message, error.retryable))

    def _fail_truncated(self) -> None:
        self._fail(UpstreamTruncated("the model provider's answer ended before its end mark"))

    def _fail_invalid(self) -> None:
        self._fail(UpstreamInvalid("the model provider sent invalid data"))

    def _clean(self, kind: type[TextDelta | ReasoningDelta], text: str) -> str:
        if kind is not self._high_surrogate_kind:
            self._replace_high_surrogate()
            self._high_surrogate_kind = kind
        text = self._high_surrogate + text.replace("\0", _REPLACEMENT)
        self._high_surrogate = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text.removesuffix(self._high_surrogate)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _replace_high_surrogate(self) -> None:
        """The second half of a surrogate pair is missing: U+FFFD replaces it."""
        if self._high_surrogate:
            self._events.append(self._high_surrogate_kind(_REPLACEMENT))
            self._high_surrogate = ""

    def _end(self, event: Finished | Failed) -> None:
        self._replace_high_surrogate()
        self._events.append(event)
        self._ended = True


class SSEAnswerDecoder(AnswerDecoder, Generic[T]):
    """An answer as server-sent events with JSON of one type. Events without data, which some servers send as
    keep-alives, are ignored. `end_mark`: an event whose data starts with it ends the stream."""

    def __init__(self, json_decoder: msgspec.json.Decoder[T], *, end_mark: bytes | None = None) -> None:
        super().__init__()
        self._sse = SSEDecoder()
        self._json_decoder = json_decoder
        self._end_mark = end_mark

    @abstractmethod
    def _decode_event(self, event: T) -> None: ...

    def _decode(self, data: bytes) -> None:
        is_too_long = False
        try:
            events = self._sse.feed(data)
        except SSEError as error:
            events, is_too_long = error.events, True
        for sse_event in events:
            data = sse_event.data
            if not data:
                continue
            if self._end_mark and data.startswith(self._end_mark):
                self._decode_end()
            elif (event := parse(self._json_decoder, data)) is not None:
                self._decode_event(event)
            else:
                self._fail_invalid()
            if self._ended:
                return
        if is_too_long:
            self._fail_invalid()


def parse(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """One JSON value of the decoder's type; None if the data is not one.

    If msgspec refuses the data, a slower and more tolerant parser tries again: a model's text may have lone
    surrogates or invalid UTF-8, and some servers send raw control characters or numbers as text.
    """
    try:
        return decoder.decode(data)
    except _NOT_JSON:
        return _parse_tolerantly(decoder.type, data)


def count(tokens: int | None) -> int:
    """A number of tokens within the range of its database column. A missing number is 0."""
    return min(max(tokens or 0, 0), _MAX_COUNT)


def _parse_tolerantly(kind: type[T], data: bytes) -> T | None:
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False)
        return msgspec.convert(value, kind, strict=False)
    except _NOT_JSON:
        return None
