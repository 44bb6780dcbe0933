"""The dialect of OpenAI's Chat Completions API, for clients of OpenAI. Text only: no tools, images or audio.

The fields are those of OpenAI's API reference, "Chat".

    data: {"id":"chatcmpl-<uuid>","object":"chat.completion.chunk","created":1700000000,"model":"...",
           "choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}
    ...   "choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}
    ...   "choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
    ...   "choices":[],"usage":{"prompt_tokens":100,...}}                   if `include_usage` is true
    data: [DONE]

If the answer fails, the last event is `data: {"error":{...}}`. Unsupported parameters that would change the
answer are refused with 400 and named. Others are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from functions.chat_stream.dialects.base import (
    AnswerMeta,
    CompletedAnswer,
    Dialect,
    DialectDescription,
    event_stream,
    token_counts,
)
from functions.chat_stream.dialects.fields import MAX_CONTENT, Content, MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.frames import frame, frame_template, json_text, to_json
from functions.chat_stream.dialects.messages import split_messages
from functions.chat_stream.dialects.unsupported_fields import (
    field_table,
    refuse_unsupported,
    refuse_unsupported_in_messages,
)
from functions.chat_stream.request import TurnRequest
from shared.errors import (
    TAKING_A_MOMENT,
    ChatError,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    RequestRefused,
)
from shared.events import Event, Failed, Finished, TextDelta, Usage
from shared.json_bodies import decode
from shared.llm.wire_format import ChatMessage, Role

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_FINISH_REASONS: Mapping[str, bytes] = {
    "stop": b"stop",
    "length": b"length",
    "content_filter": b"content_filter",
    "cancelled": b"stop",
    "deadline": b"length",
}
_ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class Part(Struct, frozen=True):
    type: str
    text: str = ""


class Message(Struct, frozen=True):
    role: str
    content: Content | Annotated[list[Part], Meta(max_length=200)] | None = None
    refusal: str | None = None


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False


class Body(Struct, frozen=True, kw_only=True):
    model: ModelName
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None


_UNSUPPORTED = field_table(Body)


class OpenAIChatEncoder:
    def __init__(self, meta: AnswerMeta, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._usage = Usage(0, 0)
        self._start = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            to_json(_completion_id(meta)),
            meta.created,
            to_json(meta.model),
        )
        self._end = b'],"usage":null}' if include_usage else b"]}"
        self._delta = frame_template(
            self._start + b'{"index":0,"delta":{"content":', b'},"finish_reason":null}' + self._end
        )
        role = b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}'
        self._opening = frame(self._start + role + self._end)

    def encode(self, events: Sequence[Event]) -> bytes:
        frames = [self._opening]
        self._opening = b""
        before, after = self._delta
        for event in events:
            match event:
                case TextDelta():
                    frames += before, json_text(event.text), after
                case Usage():
                    self._usage = event
                case Finished():
                    frames.append(self._finish(_FINISH_REASONS[event.reason]))
                case Failed():
                    frames.append(_error_frame(event.code))
        return b"".join(frames)

    def _finish(self, reason: bytes) -> bytes:
        choice = b'{"index":0,"delta":{},"finish_reason":"%b"}' % reason
        usage = b'],"usage":' + to_json(_usage(self._usage)) + b"}"
        return (
            frame(self._start + choice + self._end)
            + (frame(self._start + usage) if self._include_usage else b"")
            + frame(b"[DONE]")
        )


def _error_frame(code: str) -> bytes:
    error = {"message": TAKING_A_MOMENT, "type": "api_error", "param": None, "code": code}
    return frame(to_json({"error": error}))


def _event_types() -> tuple[Any, ...]:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs them)

    return types.ChatCompletionChunk, types.OpenAIError


def _complete_type() -> Any:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs it)

    return types.ChatCompletion


def error_type() -> Any:
    """The type of this dialect's errors, for OpenAPI."""
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs it)

    return types.OpenAIError


class OpenAIChatDialect(Dialect):
    description = DialectDescription(
        operation_id="createChatCompletion",
        summary="Create a chat completion (OpenAI's format)",
        body=Body,
        example={
            "messages": [{"role": "user", "content": "How do I sleep better?"}],
            "model": "openai/gpt-6.1-terra",
        },
        can_store=False,
        events=event_stream(
            _event_types,
            description="The answer as a stream, for `stream: true`.",
            last_data="[DONE]",
            format_docs=__doc__,
        ),
        complete_type=_complete_type,
        error_type=error_type,
    )
    route = "/v1/chat/completions"
    allows_anonymous = True
    statuses: ClassVar[Mapping[str, int]] = {ModelNotFound.code: 404}
    stops_on_disconnect = True

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        refuse_unsupported(body, _UNSUPPORTED)
        system, messages = split_messages([_message(*each) for each in enumerate(fields.messages)])
        refuse_unsupported_in_messages(body)
        return TurnRequest(
            messages=messages,
            system=system or "",  # clients of OpenAI never get the project's system prompt
            model=fields.model,
            temperature=fields.temperature,
            max_tokens=fields.max_completion_tokens or fields.max_tokens,
            stream=bool(fields.stream),
            include_usage=fields.stream_options is not None and fields.stream_options.include_usage,
        )

    def encoder(self, request: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> OpenAIChatEncoder:
        return OpenAIChatEncoder(meta, include_usage=request.include_usage)

    def complete_answer(self, answer: CompletedAnswer) -> Any:
        return {
            "id": _completion_id(answer.meta),
            "object": "chat.completion",
            "created": answer.meta.created,
            "model": answer.meta.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": _FINISH_REASONS[answer.reason].decode(),
                }
            ],
            "usage": _usage(answer.usage),
        }

    def error(self, error: ChatError) -> Any:
        by_status = "api_error" if error.status >= 500 else "invalid_request_error"
        param = error.field if isinstance(error, InvalidRequest | RequestRefused) else None
        return {
            "error": {
                "message": error.message,
                "type": _ERROR_TYPES.get(error.status, by_status),
                "param": "messages" if isinstance(error, ContextLengthExceeded) else param,
                "code": error.code,
            }
        }


def model_list(names: Sequence[str], created: int) -> dict[str, Any]:
    """The body of `GET /v1/models`. `created` is in seconds since the epoch."""
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": created, "owned_by": name.partition("/")[0]}
            for name in names
        ],
    }


def _message(number: int, message: Message) -> ChatMessage:
    field = f"messages[{number}]"
    if message.role not in _ROLES:
        raise InvalidRequest(f"{field}.role must be one of {', '.join(_ROLES)}", field=f"{field}.role")
    parts = message.content if isinstance(message.content, list) else []
    for part_number, part in enumerate(parts):
        if part.type != "text":
            raise InvalidRequest(
                "content parts must have the type text",
                field=f"{field}.content[{part_number}].type",
            )
    content = message.content if isinstance(message.content, str) else "".join(part.text for part in parts)
    if message.role == "assistant":
        content = content or message.refusal or ""
    if len(content) > MAX_CONTENT:
        raise InvalidRequest(
            f"{field}.content must have at most {MAX_CONTENT} characters", field=f"{field}.content"
        )
    return ChatMessage(_ROLES[message.role], content)


def _completion_id(meta: AnswerMeta) -> str:
    return f"chatcmpl-{meta.message_id}"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        **token_counts(usage),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
