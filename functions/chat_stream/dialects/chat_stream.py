"""The native format: a message into a stored conversation, `token` events and one `done` or `error`.

    id: 5
    data: {"type":"token","content":"Hello"}
    data: {"type":"done","messageId":"<uuid>","usage":{"prompt_tokens":100,...}}
    data: {"type":"error","message":"Coach is taking a moment. Let's try again."}

An event's id is the number of characters of the answer up to its end: whoever comes again with it
as `Last-Event-ID` gets what follows. `done` has a `finishReason` where the answer did not come to its
own end: `length`, `content_filter`, `cancelled` or `deadline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer
from functions.chat_stream.dialects.fields import Content, MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.text import encode_text
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared import web
from shared.errors import TAKING_A_MOMENT, ChatError, InvalidRequest
from shared.events import Event, Failed, Finished, TextDelta, Usage
from shared.llm.wire_format import ChatMessage

_json = msgspec.json.Encoder()
_TOKEN = b'id: %d\ndata: {"type":"token","content":%b}\n\n'


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    message: Content
    conversation_id: UUID | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None


class ChatStreamEncoder:
    def __init__(self, meta: AnswerMeta, offset: int) -> None:
        self._head = meta
        self._offset = offset
        self._usage = Usage(0, 0)

    def encode(self, events: Sequence[Event]) -> bytes:
        written = []
        for event in events:
            match event:
                case TextDelta():
                    self._offset += len(event.text)
                    written.append(_TOKEN % (self._offset, encode_text(event.text)))
                case Usage():
                    self._usage = event
                case Finished(reason):
                    written.append(b"data: " + _json.encode(self._done(reason)) + b"\n\n")
                case Failed():
                    written.append(
                        b'data: {"type":"error","message":' + _json.encode(TAKING_A_MOMENT) + b"}\n\n"
                    )
        return b"".join(written)

    def _done(self, reason: str) -> dict[str, object]:
        usage = self._usage
        done: dict[str, object] = {
            "type": "done",
            "messageId": self._head.message_id,
            "usage": {
                "prompt_tokens": usage.input,
                "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
            },
        }
        return done if reason == "stop" else done | {"finishReason": reason}


class ChatStream:
    route = "/chat-stream"
    stateless = False
    requires_storage = True
    max_body_bytes = web.MAX_BODY_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        if not said.message.strip():
            raise InvalidRequest("message must not be blank", field="message")
        return TurnRequest(
            messages=(ChatMessage("user", said.message),),
            conversation=ConversationRef(said.conversation_id),
            model=said.model,
            temperature=said.temperature,
            max_tokens=said.max_tokens,
        )

    def encoder(self, _: TurnRequest, meta: AnswerMeta, offset: int = 0) -> ChatStreamEncoder:
        return ChatStreamEncoder(meta, offset)

    def whole(self, answer: CompletedAnswer) -> Any:
        raise NotImplementedError  # this format has streams only

    def error(self, error: ChatError) -> Any:
        return error.body()
