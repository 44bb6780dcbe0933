"""The native dialect. The request contains one message for a stored conversation. The answer is `token`
events and one `done` or `error` event.

    id: 5
    data: {"type":"token","content":"Hello"}
    id: 5.end
    data: {"type":"done","messageId":"<uuid>","usage":{"prompt_tokens":100,...},"model":"openai/gpt-6-luna"}
    id: 5.end
    data: {"type":"error","message":"Coach is taking a moment. Let's try again.","code":"upstream_timeout"}

The id of an event is the length of the answer's text, in characters, including this event. A client that
sends this id as `Last-Event-ID` gets the text after this event. The id of the last event ends with `.end`. A
client that sends this id gets 204, so that an `EventSource` does not connect again. `done` has a
`finishReason` if the model did not end the answer itself: `length`, `content_filter`, `cancelled` or
`deadline`. It also has `"limit":"budget"` if the answer is as long as the rest of a budget allows.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from functions.chat_stream.dialects.base import (
    AnswerMeta,
    Dialect,
    DialectDescription,
    event_stream,
    token_counts,
)
from functions.chat_stream.dialects.fields import Content, MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.frames import TAKING_A_MOMENT_JSON, frame, json_text, to_json
from functions.chat_stream.dialects.unsupported_fields import (
    CONVERSATION_IDS,
    ONLY_STREAMS,
    field_table,
    refuse_unsupported,
)
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared import web
from shared.errors import InvalidRequest
from shared.events import Event, Failed, Finished, TextDelta, Usage
from shared.ids import RequestId
from shared.json_bodies import decode
from shared.llm.wire_format import ChatMessage

_TOKEN = frame(b'{"type":"token","content":%b}', id=b"%d")
_DONE = frame(b"%b", id=b"%d.end")
_ERROR = frame(b'{"type":"error","message":%b,"code":"%%b"}' % TAKING_A_MOMENT_JSON, id=b"%d.end")


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    message: Content
    conversation_id: RequestId | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None


_UNSUPPORTED = field_table(Body, CONVERSATION_IDS, ONLY_STREAMS)


class NativeEncoder:
    def __init__(self, meta: AnswerMeta, offset: int) -> None:
        self._meta = meta
        self._offset = offset
        self._usage = Usage(0, 0)

    def encode(self, events: Sequence[Event]) -> bytes:
        frames = []
        for event in events:
            match event:
                case TextDelta():
                    self._offset += len(event.text)
                    frames.append(_TOKEN % (self._offset, json_text(event.text)))
                case Usage():
                    self._usage = event
                case Finished():
                    frames.append(_DONE % (self._offset, to_json(self._done(event))))
                case Failed():
                    frames.append(_ERROR % (self._offset, event.code.encode()))
        return b"".join(frames)

    def _done(self, end: Finished) -> dict[str, object]:
        done: dict[str, object] = {
            "type": "done",
            "messageId": self._meta.message_id,
            "usage": token_counts(self._usage),
            "model": end.model or self._meta.model,
        }
        if end.reason != "stop":
            done["finishReason"] = end.reason
        if end.limit is not None:
            done["limit"] = end.limit
        return done


def _event_types() -> tuple[Any, ...]:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs them)

    return types.TokenEvent, types.DoneEvent, types.FailedEvent


class NativeDialect(Dialect):
    description = DialectDescription(
        operation_id="chatStream",
        summary="Send a message in a stored conversation",
        body=Body,
        example={"message": "How do I sleep better?"},
        events=event_stream(_event_types, has_ids=True, format_docs=__doc__),
    )
    route = "/chat-stream"
    max_body_bytes = web.MAX_BODY_BYTES

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        refuse_unsupported(body, _UNSUPPORTED)
        if not fields.message.strip():
            raise InvalidRequest("message must not be blank", field="message")
        return TurnRequest(
            messages=(ChatMessage("user", fields.message),),
            conversation=ConversationRef(fields.conversation_id),
            model=fields.model,
            temperature=fields.temperature,
            max_tokens=fields.max_tokens,
        )

    def encoder(self, _: TurnRequest, meta: AnswerMeta, offset: int = 0) -> NativeEncoder:
        return NativeEncoder(meta, offset)
