"""OpenAI's Chat Completions, as far as there is no tool, image or sound in them, so that any of its
clients can ask. Fields as in OpenAI's API reference, "Chat".

    data: {"id":"chatcmpl-<uuid>","object":"chat.completion.chunk","created":1700000000,"model":"...",
           "choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}
    ...   "choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}
    ...   "choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
    ...   "choices":[],"usage":{"prompt_tokens":100,...}}                   if it was asked for
    data: [DONE]

Of an answer that breaks off the last is `data: {"error":{...}}`. What a client asks for in vain is
refused by name; what would change nothing, or is a hint, is left unread.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from functions.chat_stream.dialects import messages
from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer
from functions.chat_stream.dialects.fields import (
    MAX_CONTENT,
    MAX_CONVERSATION_BYTES,
    Content,
    MaxTokens,
    ModelName,
    Temperature,
)
from functions.chat_stream.dialects.text import encode_text
from functions.chat_stream.request import TurnRequest
from shared import web
from shared.errors import TAKING_A_MOMENT, ChatError, InvalidRequest
from shared.events import Event, Failed, Finished, TextDelta, Usage
from shared.llm.wire_format import ChatMessage, Role

_json = msgspec.json.Encoder()
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# What would change the answer, and has no way to the model: with the values that change nothing, to which
# null belongs.
_UNSUPPORTED: Mapping[str, Sequence[Any]] = {
    "tools": [[]],
    "tool_choice": ["none", "auto"],
    "functions": [[]],
    "function_call": ["none", "auto"],
    "n": [1],
    "logprobs": [False],
    "top_logprobs": [0],
    "logit_bias": [{}],
    "audio": [],
    "modalities": [["text"]],
    "response_format": [{"type": "text"}],
    "web_search_options": [],
    "stop": [[]],
    "top_p": [1],
    "presence_penalty": [0],
    "frequency_penalty": [0],
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
    tool_calls: Any = None


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


class OpenAIEncoder:
    def __init__(self, meta: AnswerMeta, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._usage = Usage(0, 0)
        self._start = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (
                _json.encode(_id(meta)),
                meta.created,
                _json.encode(meta.model),
            )
        )
        self._end = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._before_text = self._start + b'{"index":0,"delta":{"content":'
        self._after_text = b'},"finish_reason":null}' + self._end
        role = b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}'
        self._opening = self._start + role + self._end

    def encode(self, events: Sequence[Event]) -> bytes:
        written = [self._opening]
        self._opening = b""
        for event in events:
            match event:
                case TextDelta():
                    written += self._before_text, encode_text(event.text), self._after_text
                case Usage():
                    self._usage = event
                case Finished(reason):
                    written.append(self._finish(_FINISH_REASONS[reason]))
                case Failed(code):
                    error = {"message": TAKING_A_MOMENT, "type": "api_error", "param": None, "code": code}
                    written += b'data: {"error":', _json.encode(error), b"}\n\n"
        return b"".join(written)

    def _finish(self, reason: bytes) -> bytes:
        finish = self._start + b'{"index":0,"delta":{},"finish_reason":"%b"}' % reason + self._end
        usage = self._start + b'],"usage":' + _json.encode(_usage(self._usage)) + b"}\n\n"
        return finish + (usage if self._include_usage else b"") + b"data: [DONE]\n\n"


class OpenAI:
    route = "/v1/chat/completions"
    stateless = True
    requires_storage = True
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        _refuse_unsupported(body)
        system, conversation = messages.split([_message(*each) for each in enumerate(said.messages)])
        return TurnRequest(
            messages=conversation,
            system=system or "",  # a client of this format brings its own, or wants none
            model=said.model,
            temperature=said.temperature,
            max_tokens=said.max_completion_tokens or said.max_tokens,
            stream=bool(said.stream),
            include_usage=said.stream_options is not None and said.stream_options.include_usage,
        )

    def encoder(self, ask: TurnRequest, meta: AnswerMeta, _offset: int = 0) -> OpenAIEncoder:
        return OpenAIEncoder(meta, include_usage=ask.include_usage)

    def whole(self, answer: CompletedAnswer) -> Any:
        return {
            "id": _id(answer.meta),
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
        return {
            "error": {
                "message": error.message,
                "type": _ERROR_TYPES.get(error.status, by_status),
                "param": error.field if isinstance(error, InvalidRequest) else None,
                "code": error.code,
            }
        }


def models(names: Sequence[str], created: int) -> dict[str, Any]:
    """The answer to `GET /v1/models`; `created` in seconds since the epoch."""
    owned = ((name, name.partition("/")[0]) for name in names)
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": created, "owned_by": owner} for name, owner in owned
        ],
    }


def _refuse_unsupported(body: bytes) -> None:
    given = msgspec.json.decode(body, type=dict[str, Raw])
    for name, harmless in _UNSUPPORTED.items():
        value = msgspec.json.decode(given[name]) if name in given else None
        if value is not None and value not in harmless:
            raise InvalidRequest(f"{name} is not supported here", field=name)


def _message(number: int, message: Message) -> ChatMessage:
    field = f"messages[{number}]"
    if message.role not in _ROLES:
        raise InvalidRequest(f"{field}.role must be one of {', '.join(_ROLES)}", field=f"{field}.role")
    if message.tool_calls:
        raise InvalidRequest("tools are not supported here", field=f"{field}.tool_calls")
    parts = message.content if isinstance(message.content, list) else []
    for part_number, part in enumerate(parts):
        if part.type != "text":
            raise InvalidRequest(
                "content must be text; nothing else is supported here",
                field=f"{field}.content[{part_number}].type",
            )
    content = message.content if isinstance(message.content, str) else "".join(part.text for part in parts)
    if len(content) > MAX_CONTENT:
        raise InvalidRequest(
            f"{field}.content must have at most {MAX_CONTENT} characters", field=f"{field}.content"
        )
    return ChatMessage(_ROLES[message.role], content)


def _id(meta: AnswerMeta) -> str:
    return f"chatcmpl-{meta.message_id}"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
