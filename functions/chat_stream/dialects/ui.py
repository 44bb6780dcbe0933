"""The AI SDK's UI Message Stream, version 1, which `useChat` speaks (npm `ai` 5, 6 and 7).

    data: {"type":"start","messageId":"<uuid>"}
    data: {"type":"start-step"}
    data: {"type":"reasoning-start","id":"1"}                    where the model shows its thinking
    data: {"type":"reasoning-delta","id":"1","delta":"Well"}
    data: {"type":"reasoning-end","id":"1"}
    data: {"type":"text-start","id":"2"}
    data: {"type":"text-delta","id":"2","delta":"Hello"}
    data: {"type":"text-end","id":"2"}
    data: {"type":"finish-step"}
    data: {"type":"abort"}                                       if it was cancelled
    data: {"type":"error","errorText":"Coach is taking ..."}     if it broke off
    data: {"type":"finish","finishReason":"stop"}
    data: [DONE]

The clients refuse an unknown type and, some of them, an unknown field. A stream that ends without a
`finish` looks complete to them. The server keeps the conversation, so that of all messages that they
send only the last is read; `id` is the client's own name for it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer
from functions.chat_stream.dialects.fields import (
    MAX_CONTENT,
    MAX_CONVERSATION_BYTES,
    ModelName,
    Name,
    Temperature,
    conversation_ref,
)
from functions.chat_stream.dialects.text import encode_text
from functions.chat_stream.request import TurnRequest
from shared import web
from shared.errors import TAKING_A_MOMENT, ChatError, InvalidRequest
from shared.events import Event, Failed, Finished, FinishReason, ReasoningDelta, TextDelta
from shared.llm.wire_format import ChatMessage

_json = msgspec.json.Encoder()
_ERROR = b'data: {"type":"error","errorText":%b}\n\n' % _json.encode(TAKING_A_MOMENT)
_ABORT = b'data: {"type":"abort"}\n\n'
# Newer clients know `interrupted`, which older ones refuse.
_FINISH_REASONS: Mapping[FinishReason, bytes] = {
    "stop": b"stop",
    "length": b"length",
    "content_filter": b"content-filter",
    "cancelled": b"other",
    "deadline": b"other",
}


class Part(Struct, frozen=True):
    type: str
    text: str = ""


class UIMessage(Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    parts: list[Part]
    id: Name = ""


class Body(Struct, frozen=True, kw_only=True):
    """`model` and `temperature` may be given as `body` of the transport or of a call."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[UIMessage], Meta(min_length=1)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: Name | None = msgspec.field(default=None, name="messageId")
    model: ModelName | None = None
    temperature: Temperature | None = None


class UIEncoder:
    def __init__(self, meta: AnswerMeta) -> None:
        self._opening = (
            b'data: {"type":"start","messageId":%b}\n\n' % _json.encode(meta.message_id)
            + b'data: {"type":"start-step"}\n\n'
        )
        self._part = 0
        self._kind = b""  # of the part that is open
        self._before_delta = b""

    def encode(self, events: Sequence[Event]) -> bytes:
        written = [self._opening]
        self._opening = b""
        for event in events:
            match event:
                case TextDelta():
                    written += self._within(b"text"), self._before_delta, encode_text(event.text), b"}\n\n"
                case ReasoningDelta():
                    written += (
                        self._within(b"reasoning"),
                        self._before_delta,
                        encode_text(event.text),
                        b"}\n\n",
                    )
                case Finished(reason):
                    aborted = _ABORT if reason == "cancelled" else b""
                    written += self._close(), _end(aborted, _FINISH_REASONS[reason])
                case Failed():
                    written += self._close(), _end(_ERROR, b"error")
        return b"".join(written)

    def _within(self, kind: bytes) -> bytes:
        """What ends the part before and begins one of this kind, unless it is open already."""
        if kind == self._kind:
            return b""
        closing = self._close()
        self._kind = kind
        self._part += 1
        self._before_delta = b'data: {"type":"%b-delta","id":"%d","delta":' % (kind, self._part)
        return closing + b'data: {"type":"%b-start","id":"%d"}\n\n' % (kind, self._part)

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        kind, self._kind = self._kind, b""
        return b'data: {"type":"%b-end","id":"%d"}\n\n' % (kind, self._part)


def _end(why: bytes, reason: bytes) -> bytes:
    finish = b'data: {"type":"finish","finishReason":"%b"}\n\n' % reason
    return b'data: {"type":"finish-step"}\n\n' + why + finish + b"data: [DONE]\n\n"


class UIChat:
    route = "/api/ui/chat"
    stateless = False
    requires_storage = True
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        question = _question(said.messages)
        ask = TurnRequest(
            messages=(ChatMessage("user", question),),
            conversation=conversation_ref(said.id),
            model=said.model,
            temperature=said.temperature,
        )
        asked_as = said.messages[-1].id
        if said.trigger == "submit-message":
            return structs.replace(
                ask, idempotency_key=f"{said.id}\n{asked_as}\n{question}" if asked_as else None
            )
        # Some name the answer, some the question before it, which has that name with the client alone.
        # There is no key: whoever wants another answer means it each time.
        replaces = "" if said.message_id == asked_as else said.message_id or ""
        return structs.replace(ask, conversation=conversation_ref(said.id, replaces=replaces))

    def encoder(self, _ask: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> UIEncoder:
        """From the beginning, always: a client that resumes builds the message anew."""
        return UIEncoder(meta)

    def whole(self, answer: CompletedAnswer) -> Any:
        raise NotImplementedError  # this format has streams only

    def error(self, error: ChatError) -> Any:
        return error.body()


def _question(messages: Sequence[UIMessage]) -> str:
    number, last = len(messages) - 1, messages[-1]
    if last.role != "user":
        raise InvalidRequest("the last of messages must be the user's", field="messages")
    if any(part.type == "file" for part in last.parts):
        raise InvalidRequest("files are not supported", field=f"messages[{number}].parts")
    text = "".join(part.text for part in last.parts if part.type == "text")
    if not text.strip():
        raise InvalidRequest("the user's message must not be blank", field=f"messages[{number}].parts")
    if len(text) > MAX_CONTENT:
        raise InvalidRequest(
            f"the user's message must have at most {MAX_CONTENT} characters",
            field=f"messages[{number}].parts",
        )
    return text
