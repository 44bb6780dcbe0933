"""The dialect with named events. If the request has a `chatId` (any text), the turn is stored in that
conversation.

    event: message-start
    data: {"messageId":"<uuid>"}
    event: message-chunk
    data: {"messageId":"<uuid>","content":"Hello","done":false}
    event: message-complete
    data: {"messageId":"<uuid>","fullContent":"Hello"}
    event: error
    data: {"message":"Coach is taking a moment. Let's try again."}
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from functions.chat_stream.dialects.base import AnswerMeta, Dialect, DialectDescription, event_stream
from functions.chat_stream.dialects.fields import Content, ExternalId, ModelName, conversation_ref
from functions.chat_stream.dialects.frames import (
    TAKING_A_MOMENT_JSON,
    frame,
    frame_template,
    json_text,
    to_json,
)
from functions.chat_stream.dialects.messages import Message, split_messages
from functions.chat_stream.dialects.unsupported_fields import (
    CONVERSATION_IDS,
    ONLY_STREAMS,
    FieldTable,
    field_table,
    refuse_unsupported,
    refuse_unsupported_in_messages,
)
from functions.chat_stream.request import TurnRequest
from shared.events import Event, Failed, Finished, TextDelta
from shared.json_bodies import decode

_ERROR = frame(b'{"message":%b}' % TAKING_A_MOMENT_JSON, event=b"error")


class MessageWithId(Message, frozen=True, kw_only=True):
    """`id` is chosen by the client. A field `timestamp` of any type is ignored."""

    id: ExternalId | int | None = None


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    messages: Annotated[list[MessageWithId], Meta(min_length=1)]
    model: ModelName
    chat_id: ExternalId | None = None
    system_prompt: Content | None = None


# Fields of Ollama's API, and the values of the answers of this dialect.
_OLLAMA_FIELDS: FieldTable = {
    "options": [{}],
    "format": [""],
    "temperature": [0.7],
    "max_tokens": [4096],
    "maxTokens": [4096],
}
_UNSUPPORTED = field_table(Body, CONVERSATION_IDS, ONLY_STREAMS, _OLLAMA_FIELDS)


class NamedEventsEncoder:
    def __init__(self, meta: AnswerMeta) -> None:
        message = b'{"messageId":%b' % to_json(meta.message_id)
        self._opening = frame(message + b"}", event=b"message-start")
        self._chunk = frame_template(message + b',"content":', b',"done":false}', event=b"message-chunk")
        self._complete = frame_template(message + b',"fullContent":', b"}", event=b"message-complete")
        self._texts: list[str] = []

    def encode(self, events: Sequence[Event]) -> bytes:
        frames = [self._opening]
        self._opening = b""
        before, after = self._chunk
        for event in events:
            match event:
                case TextDelta():
                    self._texts.append(event.text)
                    frames += before, json_text(event.text), after
                case Finished():
                    start, end = self._complete
                    frames += start, json_text("".join(self._texts)), end
                case Failed():
                    frames.append(_ERROR)
        return b"".join(frames)


def _event_types() -> tuple[Any, ...]:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs them)

    return types.MessageStart, types.MessageChunk, types.MessageComplete, types.MessageError


class NamedEventsDialect(Dialect):
    description = DialectDescription(
        operation_id="stream",
        summary="Send a conversation; the answer has named events",
        body=Body,
        example={
            "messages": [{"role": "user", "content": "How do I sleep better?"}],
            "model": "openai/gpt-6.1-terra",
        },
        events=event_stream(
            _event_types,
            event_names=("message-start", "message-chunk", "message-complete", "error"),
            format_docs=__doc__,
        ),
    )
    route = "/api/stream"
    allows_anonymous = True
    requires_storage = False

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        chat_id = fields.chat_id
        refuse_unsupported(body, _UNSUPPORTED)
        refuse_unsupported_in_messages(body, only_last=bool(chat_id))
        system, messages = split_messages(fields.messages, fields.system_prompt, is_stored=bool(chat_id))
        last = fields.messages[-1]
        has_key = chat_id and last.id is not None
        return TurnRequest(
            messages=messages,
            system=system,
            model=fields.model,
            conversation=conversation_ref(chat_id) if chat_id else None,
            idempotency_key=f"{chat_id}\n{last.id}\n{messages[-1].content}" if has_key else None,
        )

    def encoder(self, _request: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> NamedEventsEncoder:
        return NamedEventsEncoder(meta)
