"""The AI SDK's UI Message Stream, version 1, for `useChat` (npm `ai` 5, 6 and 7).

    data: {"type":"start","messageId":"<uuid>"}
    data: {"type":"start-step"}
    data: {"type":"reasoning-start","id":"1"}                    if the model sends reasoning
    data: {"type":"reasoning-delta","id":"1","delta":"Well"}
    data: {"type":"reasoning-end","id":"1"}
    data: {"type":"text-start","id":"2"}
    data: {"type":"text-delta","id":"2","delta":"Hello"}
    data: {"type":"text-end","id":"2"}
    data: {"type":"finish-step"}
    data: {"type":"abort"}                                       if the user cancelled the answer
    data: {"type":"error","errorText":"Coach is taking ..."}     if the answer failed
    data: {"type":"finish","finishReason":"stop"}
    data: [DONE]

The clients refuse unknown types, and some refuse unknown fields. The clients treat a stream without `finish`
as complete. The server has the conversation, so of a request only the last message is read, and the system
messages. `id` is the client's own id of the conversation.

The bodies are those of `useChat`, of assistant-ui (`system`, `callSettings`, `config`), and of vercel/chatbot
(`message`, `selectedChatModel`).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from functions.chat_stream.dialects.base import AnswerMeta, Dialect, DialectDescription, event_stream
from functions.chat_stream.dialects.fields import (
    MAX_CONTENT,
    Content,
    ExternalId,
    MaxTokens,
    ModelName,
    Temperature,
    conversation_ref,
)
from functions.chat_stream.dialects.frames import (
    TAKING_A_MOMENT_JSON,
    frame,
    frame_template,
    json_text,
    to_json,
)
from functions.chat_stream.dialects.unsupported_fields import (
    CONVERSATION_IDS,
    ONLY_STREAMS,
    FieldTable,
    field_table,
    refuse_unsupported,
)
from functions.chat_stream.request import TurnRequest
from shared.errors import InvalidRequest
from shared.events import Event, Failed, Finished, FinishReason, ReasoningDelta, TextDelta
from shared.json_bodies import decode
from shared.llm.wire_format import ChatMessage

T = TypeVar("T")

_ERROR = frame(b'{"type":"error","errorText":%b}' % TAKING_A_MOMENT_JSON)
_ABORT = frame(b'{"type":"abort"}')
# The AI SDK 7 also knows `interrupted`; older versions refuse it.
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
    id: ExternalId = ""


class CallSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    """The settings of assistant-ui's model context. `maxOutputTokens` is the AI SDK's name of `maxTokens`."""

    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    max_output_tokens: MaxTokens | None = None


class ModelConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    """The configuration of assistant-ui's model context."""

    model_name: ModelName | None = None


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    """A request has `messages`, or only the last one as `message`.

    Clients set `model`, `temperature` and `maxOutputTokens` in the option `body` of the AI SDK's transport or
    of a call.
    """

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[UIMessage], Meta(min_length=1)] | None = None
    message: UIMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: ExternalId | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_output_tokens: MaxTokens | None = None
    system: Content | None = None
    call_settings: CallSettings | None = None
    config: ModelConfig | None = None
    selected_chat_model: ModelName | None = None


_UNSUPPORTED = field_table(Body, CONVERSATION_IDS, ONLY_STREAMS)
_UNSUPPORTED_CALL_SETTINGS = field_table(CallSettings)
_UNSUPPORTED_CONFIG = field_table(ModelConfig, {"apiKey": [""], "baseUrl": [""]})
# Of the last message. The text of a message is in its parts.
_UNSUPPORTED_IN_MESSAGE: FieldTable = {"experimental_attachments": [[]], "attachments": [[]], "files": [[]]}
# vercel/chatbot's name of its default model.
_DEFAULT_CHAT_MODEL = "chat-model"


class AISDKEncoder:
    def __init__(self, meta: AnswerMeta) -> None:
        start = frame(b'{"type":"start","messageId":%b}' % to_json(meta.message_id))
        self._opening = start + frame(b'{"type":"start-step"}')
        self._part_number = 0
        self._kind = b""  # of the part that has started and not ended, or empty
        self._delta = (b"", b"")

    def encode(self, events: Sequence[Event]) -> bytes:
        frames = [self._opening]
        self._opening = b""
        for event in events:
            match event:
                case TextDelta() | ReasoningDelta():
                    kind = b"text" if isinstance(event, TextDelta) else b"reasoning"
                    if kind != self._kind:
                        frames.append(self._end_part() + self._start_part(kind))
                    before, after = self._delta
                    frames += before, json_text(event.text), after
                case Finished():
                    aborted = _ABORT if event.reason == "cancelled" else b""
                    frames += self._end_part(), _last_frames(aborted, _FINISH_REASONS[event.reason])
                case Failed():
                    frames += self._end_part(), _last_frames(_ERROR, b"error")
        return b"".join(frames)

    def _start_part(self, kind: bytes) -> bytes:
        self._kind = kind
        self._part_number += 1
        self._delta = frame_template(
            b'{"type":"%b-delta","id":"%d","delta":' % (kind, self._part_number), b"}"
        )
        return frame(b'{"type":"%b-start","id":"%d"}' % (kind, self._part_number))

    def _end_part(self) -> bytes:
        if not self._kind:
            return b""
        kind, self._kind = self._kind, b""
        return frame(b'{"type":"%b-end","id":"%d"}' % (kind, self._part_number))


def _last_frames(special: bytes, reason: bytes) -> bytes:
    finish = frame(b'{"type":"finish","finishReason":"%b"}' % reason)
    return frame(b'{"type":"finish-step"}') + special + finish + frame(b"[DONE]")


def _event_types() -> tuple[Any, ...]:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs them)

    return types.UIStart, types.UIStep, types.UIPart, types.UIDelta, types.UIError, types.UIFinish


class AISDKDialect(Dialect):
    description = DialectDescription(
        operation_id="uiChat",
        summary="Send a message (`useChat` of the AI SDK)",
        body=Body,
        example={
            "id": "chat-1",
            "messages": [{"role": "user", "parts": [{"type": "text", "text": "How do I sleep better?"}]}],
        },
        events=event_stream(_event_types, last_data="[DONE]", format_docs=__doc__),
    )
    route = "/api/ui/chat"
    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        _refuse_unsupported(body, fields)
        messages = _messages(fields)
        question = _question(messages, "messages" if fields.message is None else "message")
        question_id = messages[-1].id
        replaces = key = None
        if fields.trigger == "regenerate-message":
            # `messageId` is the id of the answer in some clients and the id of the question in others. The
            # server does not know ids of questions; then the last answer is replaced. A regeneration has no
            # idempotency key, because each click must give a new answer.
            is_question = fields.message_id == question_id
            replaces = "" if is_question else fields.message_id or ""
        elif fields.message_id:
            # The client has edited an earlier message. The server would add the message to the conversation.
            raise InvalidRequest("a message cannot be edited", field="messageId")
        elif question_id:
            key = f"{fields.id}\n{question_id}\n{question}"
        settings = fields.call_settings or CallSettings()
        return TurnRequest(
            messages=(ChatMessage("user", question),),
            conversation=conversation_ref(fields.id, replaces=replaces),
            system=_system(messages, fields.system),
            model=_model(fields),
            temperature=_the_one(
                {"temperature": fields.temperature, "callSettings.temperature": settings.temperature}
            ),
            max_tokens=_the_one(
                {
                    "maxOutputTokens": fields.max_output_tokens,
                    "callSettings.maxTokens": settings.max_tokens,
                    "callSettings.maxOutputTokens": settings.max_output_tokens,
                }
            ),
            idempotency_key=key,
        )

    def encoder(self, _request: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> AISDKEncoder:
        """Ignores the offset: a client that resumes needs the whole message again."""
        return AISDKEncoder(meta)


def _refuse_unsupported(body: bytes, fields: Body) -> None:
    refuse_unsupported(body, _UNSUPPORTED)
    raw = msgspec.json.decode(body, type=_RawBody)
    if fields.call_settings is not None:
        refuse_unsupported(raw.call_settings, _UNSUPPORTED_CALL_SETTINGS, "callSettings.")
    if fields.config is not None:
        refuse_unsupported(raw.config, _UNSUPPORTED_CONFIG, "config.")
    if fields.message is not None:
        refuse_unsupported(raw.message, _UNSUPPORTED_IN_MESSAGE, "message.")
    elif raw.messages:
        refuse_unsupported(raw.messages[-1], _UNSUPPORTED_IN_MESSAGE, f"messages[{len(raw.messages) - 1}].")


class _RawBody(Struct, rename="camel"):
    call_settings: Raw = Raw()
    config: Raw = Raw()
    message: Raw = Raw()
    messages: list[Raw] | None = None


def _messages(fields: Body) -> Sequence[UIMessage]:
    if fields.message is not None and fields.messages is not None:
        raise InvalidRequest("message and messages cannot be used together", field="message")
    if fields.message is not None:
        return [fields.message]
    if fields.messages is None:
        raise InvalidRequest("messages is missing", field="messages")
    return fields.messages


def _question(messages: Sequence[UIMessage], field: str) -> str:
    last = messages[-1]
    if last.role != "user":
        raise InvalidRequest("the last message must have the role user", field=field)
    parts = f"{field}[{len(messages) - 1}].parts" if field == "messages" else f"{field}.parts"
    if any(part.type == "file" for part in last.parts):
        raise InvalidRequest("files are not supported", field=parts)
    text = _text(last)
    if not text.strip():
        raise InvalidRequest("the user's message must not be blank", field=parts)
    if len(text) > MAX_CONTENT:
        raise InvalidRequest(f"the user's message must have at most {MAX_CONTENT} characters", field=parts)
    return text


def _text(message: UIMessage) -> str:
    return "".join(part.text for part in message.parts if part.type == "text")


def _system(messages: Sequence[UIMessage], system: str | None) -> str | None:
    texts = [system or "", *(_text(message) for message in messages if message.role == "system")]
    prompt = "\n\n".join(text for text in texts if text.strip())
    if len(prompt) > MAX_CONTENT:
        raise InvalidRequest(
            f"system messages must have at most {MAX_CONTENT} characters in all", field="messages"
        )
    return prompt or None


def _model(fields: Body) -> str | None:
    selected = fields.selected_chat_model
    return _the_one(
        {
            "model": fields.model,
            "config.modelName": fields.config.model_name if fields.config else None,
            "selectedChatModel": None if selected == _DEFAULT_CHAT_MODEL else selected,
        }
    )


def _the_one(values: Mapping[str, T | None]) -> T | None:
    """The value that a client sent, possibly in several fields. Raises InvalidRequest if they differ."""
    present = {field: value for field, value in values.items() if value is not None}
    if not present:
        return None
    (first, value), *others = present.items()
    for field, other in others:
        if other != value:
            raise InvalidRequest(f"{field} must be equal to {first}", field=field)
    return value
