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
from functions.chat_stream.dialects.base import Ask, Head, WholeAnswer
from functions.chat_stream.dialects.fields import (
    MAX_CONVERSATION_BYTES,
    Content,
    ModelName,
    Name,
    place_called,
)
from functions.chat_stream.dialects.messages import Message
from functions.chat_stream.dialects.text import encode_text
from shared import http
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
    def __init__(self, head: Head) -> None:
        message = b'data: {"messageId":%b' % _json.encode(head.message_id)
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
    stored_or_nothing = False
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> Ask:
        said = http.decode(body, Body)
        system, conversation = messages.split(said.messages, said.system_prompt, stored=bool(said.chat_id))
        ask = Ask(messages=conversation, system=system, model=said.model)
        if not said.chat_id:
            return ask
        last = said.messages[-1]
        return structs.replace(
            ask,
            place=place_called(said.chat_id),
            key=None if last.id is None else f"{said.chat_id}\n{last.id}\n{ask.question}",
        )

    def encoder(self, _ask: Ask, head: Head, _offset: int = 0) -> StreamEncoder:
        return StreamEncoder(head)

    def whole(self, answer: WholeAnswer) -> Any:
        raise NotImplementedError  # this format has streams only

    def error(self, error: ChatError) -> Any:
        return error.body()
