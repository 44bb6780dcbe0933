"""The format with named events. A `chatId` of any kind names the conversation that the turn is stored in.

event: message-start
data: {"messageId":"<uuid>"}
event: message-chunk
data: {"messageId":"<uuid>","content":"Hello","done":false}
event: message-complete
data: {"messageId":"<uuid>","fullContent":"Hello"}
event: error
data: {"message":"Coach is taking a moment. Let's try again."}
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from functions.chat_stream.dialects import messages
from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer
from functions.chat_stream.dialects.fields import (
    MAX_CONVERSATION_BYTES,
    Content,
    ModelName,
    Name,
    conversation_ref,
)
from functions.chat_stream.dialects.messages import Message
from functions.chat_stream.dialects.text import encode_text
from functions.chat_stream.request import TurnRequest
from shared import web
from shared.errors import TAKING_A_MOMENT, ChatError
from shared.events import Event, Failed, Finished, TextDelta

_json = msgspec.json.Encoder()
_ERROR = b'event: error\ndata: {"message":%b}\n\n' % _json.encode(TAKING_A_MOMENT)


class NamedMessage(Message, frozen=True, kw_only=True):
    """`id` is the client's own; its `timestamp`, of whatever kind, is left unread."""

    id: Name | int | None = None


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    messages: Annotated[list[NamedMessage], Meta(min_length=1)]
    model: ModelName
    chat_id: Name | None = None
    system_prompt: Content | None = None


class StreamEncoder:
    def __init__(self, meta: AnswerMeta) -> None:
        message = b'data: {"messageId":%b' % _json.encode(meta.message_id)
        self._opening = b"event: message-start\n" + message + b"}\n\n"
        self._before_text = b"event: message-chunk\n" + message + b',"content":'
        self._before_all = b"event: message-complete\n" + message + b',"fullContent":'
        self._texts: list[str] = []

    def encode(self, events: Sequence[Event]) -> bytes:
        written = [self._opening]
        self._opening = b""
        for event in events:
            match event:
                case TextDelta():
                    self._texts.append(event.text)
                    written += self._before_text, encode_text(event.text), b',"done":false}\n\n'
                case Finished():
                    written += self._before_all, encode_text("".join(self._texts)), b"}\n\n"
                case Failed():
                    written.append(_ERROR)
        return b"".join(written)


class Stream:
    route = "/api/stream"
    stateless = True
    requires_storage = False
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        system, conversation = messages.split(said.messages, said.system_prompt, stored=bool(said.chat_id))
        ask = TurnRequest(messages=conversation, system=system, model=said.model)
        if not said.chat_id:
            return ask
        last = said.messages[-1]
        return structs.replace(
            ask,
            conversation=conversation_ref(said.chat_id),
            idempotency_key=None if last.id is None else f"{said.chat_id}\n{last.id}\n{ask.question}",
        )

    def encoder(self, _ask: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> StreamEncoder:
        return StreamEncoder(meta)

    def whole(self, answer: CompletedAnswer) -> Any:
        raise NotImplementedError  # this format has streams only

    def error(self, error: ChatError) -> Any:
        return error.body()
