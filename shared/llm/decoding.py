"""The base classes of all decoders. They make sure that an answer ends once and is not empty, that JSON is
parsed tolerantly, and that the database can store the text.

A decoder is strict about the fields that it needs. All other fields may have any shape.
"""

import json
import math
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import msgspec

from shared.errors import EmptyAnswer, UpstreamError, UpstreamInvalid, UpstreamTruncated
from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.finish_reasons import Ending, read_finish_reason
from shared.llm.think_tags import AnswerStart, ThinkTags
from shared.sse import SSEDecoder, SSEError

T = TypeVar("T")

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# The largest value of an integer column in Postgres. No model reads or writes a hundredth of it.
MAX_COUNT = 2**31 - 1
# White space and a byte order mark, which may precede the first event.
_BLANK = b" \t\r\n\xef\xbb\xbf"
# The first bytes of the lines of an event stream: a comment, or the fields data, event, id and retry.
_FIRST_BYTES_OF_LINES = b":deir"
# An answer of a million characters, which is the longest, fits also if all of them are escaped.
MAX_BODY_BYTES = 8 * 1024 * 1024


class AnswerDecoder(ABC):
    """A `Decoder`. Subclasses decode a wire format and report what they find with `_add_text` and the other
    methods.

    Text has no NUL, which Postgres refuses, and no lone surrogates, which UTF-8 cannot encode: both become
    U+FFFD. Two halves of a surrogate pair that came in two deltas are joined.
    """

    def __init__(self, think_tags: ThinkTags = "true") -> None:
        self._events: list[Event] = []
        self._ended = False
        # None once the text has begun.
        self._start: AnswerStart | None = AnswerStart(think_tags)
        self._has_reasoning = False
        # The finish reason or error that the provider has sent, until the stream ends.
        self._ending: Ending | None = None
        # The last counts of tokens; 0 if they are unknown.
        self._input = 0
        self._output = 0
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

    def reject(self) -> list[Event]:
        events = self._events = []
        if not self._ended:
            self._fail_invalid()
        return events

    @abstractmethod
    def _decode(self, data: bytes) -> None: ...

    @abstractmethod
    def _decode_end(self) -> None:
        """Called when the stream ends before the answer has."""

    def _add_text(self, text: str) -> None:
        if self._start is not None:
            self._add_start(self._start, text)
            return
        # A fast check: printable text has neither NUL nor surrogates.
        if self._high_surrogate or not text.isprintable():
            text = self._clean(TextDelta, text)
        if text:
            self._events.append(TextDelta(text))

    def _add_reasoning(self, text: str) -> None:
        self._has_reasoning = True
        if self._high_surrogate or not text.isprintable():
            text = self._clean(ReasoningDelta, text)
        if text:
            self._events.append(ReasoningDelta(text))

    def _add_content(self, content: object) -> None:
        """Adds text in any of the shapes that providers use: a string, or a list of parts, which may be
        thinking. A part without text, such as an image, is ignored."""
        for part in content if isinstance(content, list) else [content]:
            text = part
            if isinstance(part, dict):
                kind = part.get("type")
                if kind in ("thinking", "reasoning"):
                    self._add_reasoning_value(part.get("thinking") or part.get("text"))
                    continue
                text = part.get("text") if kind in (None, "text", "output_text") else None
            if isinstance(text, str):
                if text:
                    self._add_text(text)
            elif text:
                self._fail_invalid()
                return

    def _add_reasoning_value(self, value: object) -> None:
        """Adds thinking in any shape. An unknown shape is ignored, because an answer needs no thinking."""
        for part in value if isinstance(value, list) else [value]:
            text = part.get("text") if isinstance(part, dict) else part
            if text and isinstance(text, str):
                self._add_reasoning(text)

    def _add_start(self, start: AnswerStart, text: str) -> None:
        self._add_parts(start, start.feed(text, has_reasoning=self._has_reasoning))

    def _add_parts(self, start: AnswerStart, parts: tuple[str, str]) -> None:
        thinking, text = parts
        if start.has_text:
            self._start = None
        if thinking:
            self._add_reasoning(thinking)
        if text:
            self._add_text(text)

    def _add_usage(
        self,
        sent: object,
        received: object,
        *,
        cache_read: object = None,
        cache_write: object = None,
        reasoning: object = None,
        is_final: bool,
    ) -> None:
        """Adds the counts of tokens that a provider reports: of the prompt (`sent`, with cached tokens) and
        of the answer (`received`). Counts are cumulative, so later ones replace earlier ones.

        A count is unknown if it is missing, is not a number of tokens, or is 0 beside a prompt or an answer.
        An unknown count does not replace a known one. `is_final`: the answer has a finish reason.
        """
        if self._ended:
            return
        output = count(received)
        self._input = count(sent) or self._input
        self._output = output or self._output
        if not self._input and not self._output:
            return
        is_empty = self._start is not None and not self._has_reasoning
        is_known = self._input and (output or (output == 0 and is_empty))
        self._events.append(
            Usage(
                input=self._input,
                output=self._output,
                cache_read=count(cache_read) or 0 if cache_read else 0,
                cache_write=count(cache_write) or 0 if cache_write else 0,
                reasoning=count(reasoning) or 0 if reasoning else 0,
                estimated=not (is_final and is_known),
            )
        )

    def _read_ending(self, word: object) -> None:
        self._ending = read_finish_reason(word)

    def _finish(self) -> None:
        """Ends the answer with the finish reason or the error that the provider has sent. Without one the
        answer is truncated: gateways end a stream normally after a failure."""
        self._close_start()
        if self._ending is None:
            self._fail_truncated()
        elif isinstance(self._ending, UpstreamError):
            self._fail(self._ending)
        elif self._start is None or self._ending == "content_filter":
            self._end(Finished(self._ending))
        else:
            # The limit would be reached again, at the same price.
            may_retry = self._ending != "length"
            self._fail(EmptyAnswer("the model's answer has no text"), may_retry=may_retry)

    def _fail(self, error: UpstreamError, *, may_retry: bool = True) -> None:
        if self._ended:
            return
        self._close_start()
        self._end(Failed(error.code, error.message, error.retryable and may_retry))

    def _fail_truncated(self) -> None:
        self._fail(UpstreamTruncated("the model provider's answer ended before its end mark"))

    def _fail_invalid(self) -> None:
        # The model has been paid for an answer that cannot be read. Another answer would be no better.
        self._fail(UpstreamInvalid("the model provider sent invalid data"), may_retry=False)

    def _close_start(self) -> None:
        if self._start is not None:
            self._add_parts(self._start, self._start.close())

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
    """An answer as server-sent events with JSON of one type, or as one JSON body, from servers that cannot
    stream. Events without data, which some servers send as keep-alives, are ignored."""

    # An event whose data starts with it ends the stream. Gateways add it also to Anthropic's format.
    _END_MARK = b"[DONE]"

    def __init__(self, json_decoder: msgspec.json.Decoder[T], think_tags: ThinkTags = "true") -> None:
        super().__init__(think_tags)
        self._sse = SSEDecoder()
        self._json_decoder = json_decoder
        self._is_stream = False
        # The bytes so far of an answer that is not a stream.
        self._body = bytearray()

    @abstractmethod
    def _decode_event(self, event: T) -> None: ...

    @abstractmethod
    def _decode_body(self, body: T) -> None:
        """Decodes an answer that is one JSON body. The caller ends the answer."""

    def _decode(self, data: bytes) -> None:
        if not self._is_stream:
            data = self._decode_beginning(data)
            if not data:
                return
        is_too_long = False
        try:
            events = self._sse.feed(data)
        except SSEError as error:
            events, is_too_long = error.events, True
        decode = self._json_decoder.decode
        for sse_event in events:
            try:
                event = decode(sse_event.data)
            except NOT_JSON:
                self._decode_odd_event(sse_event.data)
            else:
                self._decode_event(event)
            if self._ended:
                return
        if is_too_long:
            self._fail_invalid()

    def _decode_odd_event(self, data: bytes) -> None:
        if data.startswith(self._END_MARK):
            self._finish()
        elif (event := parse_tolerantly(self._json_decoder.type, data)) is not None:
            self._decode_event(event)
        elif data:
            self._fail_invalid()

    def _decode_beginning(self, data: bytes) -> bytes:
        """The first bytes of an event stream. Returns b"" if there is only white space so far, or if the body
        is not an event stream."""
        if self._body:
            self._body += data
        else:
            data = data.lstrip(_BLANK)
            if data[:1] in (b"{", b"["):
                self._body += data
            elif data:
                self._is_stream = data[0] in _FIRST_BYTES_OF_LINES
                if self._is_stream:
                    return data
                self._fail_invalid()  # an HTML page, for instance
        if len(self._body) > MAX_BODY_BYTES:
            self._fail_invalid()
        return b""

    def _decode_end(self) -> None:
        if self._body:
            self._decode_whole_body()
            return
        try:
            events = self._sse.close()
        except SSEError:
            events = []
        for sse_event in events:
            # The event was cut off if it is not JSON.
            if (event := parse(self._json_decoder, sse_event.data)) is not None:
                self._decode_event(event)
        if not self._ended:
            self._finish()

    def _decode_whole_body(self) -> None:
        body = parse(self._json_decoder, bytes(self._body))
        if body is None:
            # Not JSON, or only a part of it.
            self._fail_invalid()
            return
        self._decode_body(body)
        if not self._ended:
            # The JSON is complete, so the answer is too.
            self._ending = self._ending or "stop"
            self._finish()


def parse(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """One JSON value of the decoder's type; None if the data is not one. What msgspec refuses,
    `parse_tolerantly` tries again."""
    try:
        return decoder.decode(data)
    except NOT_JSON:
        return parse_tolerantly(decoder.type, data)


def count(value: object) -> int | None:
    """A number of tokens; None if the value is not one, or does not fit its database column."""
    if type(value) is int:  # the usual case
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        return count(int(value))
    return count(int(value)) if isinstance(value, float) and value.is_integer() else None


def fields_of(value: object) -> dict[str, Any]:
    """The fields of a JSON object; none if the value is not an object."""
    return value if isinstance(value, dict) else {}


def has_value(value: object) -> bool:
    """Whether a JSON value says anything: `{"code": null}`, `[]` and `""` do not."""
    if isinstance(value, dict):
        return any(map(has_value, value.values()))
    return any(map(has_value, value)) if isinstance(value, list) else bool(value)


def known_fields(value: object, kind: type) -> dict[str, Any]:
    """The fields of a JSON object that `kind`, a Struct, has too."""
    names = kind.__struct_fields__  # type: ignore[attr-defined]
    return {name: field for name, field in fields_of(value).items() if name in names}


def read_error(value: object, kind: type[T]) -> T | str:
    """The error of a provider: a sentence, or a `kind`, whose fields are texts or numbers."""
    if isinstance(value, str):
        return value
    fields = known_fields(value, kind)
    return kind(**{name: field for name, field in fields.items() if isinstance(field, str | int)})


def parse_tolerantly(kind: type[T], data: bytes) -> T | None:
    """As `parse`, but slower and more tolerant.

    A model's text may have lone surrogates or invalid UTF-8, and some servers send raw control characters,
    numbers as text, or an empty value of another type (`""`, `[]`, `{}`, `false`), which counts as missing.
    So does a `usage` that is no object.
    """
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False, parse_int=_parse_int)
        value = _without_empty(value)
        if not isinstance(fields_of(value).get("usage", {}), dict):
            del value["usage"]
        return msgspec.convert(value, kind, strict=False)
    except NOT_JSON:
        return None


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) < 100 else math.inf


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(field) for name, field in value.items() if field}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
