"""The format of OpenAI's Chat Completions API, and of the servers that are compatible with it:
https://platform.openai.com/docs/api-reference/chat-streaming."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from shared import errors
from shared.errors import UpstreamError
from shared.llm.decoding import SSEAnswerDecoder, count, fields_of, has_value, known_fields, read_error
from shared.llm.providers import ModelTarget
from shared.llm.think_tags import ThinkTags
from shared.llm.wire_format import (
    ChatRequest,
    Decoder,
    HttpRequest,
    alternating,
    error_for_response,
    error_for_status,
    refusal_in,
)


class OpenAIFormat:
    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        messages = [
            {"role": message.role, "content": message.content}
            for message in alternating(chat_request.messages)
        ]
        if chat_request.system:
            messages.insert(0, {"role": "system", "content": chat_request.system})
        body: dict[str, object] = {
            "model": target.model,
            "messages": messages,
            target.variant.max_tokens_field: chat_request.max_tokens,
            "stream": True,
        }
        if target.variant.stream_options:
            body["stream_options"] = {"include_usage": True}
        if chat_request.temperature is not None:
            body["temperature"] = chat_request.temperature
        return HttpRequest(f"{target.base_url}/chat/completions", headers, msgspec.json.encode(body))

    def decoder(self, think_tags: ThinkTags = "true") -> Decoder:
        return OpenAIDecoder(think_tags)

    def error(self, status: int, body: bytes) -> UpstreamError:
        return error_for_response(status, body)


class _UsageFields(Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None


class _Delta(Struct, gc=False):
    """The new part of a message, in a stream."""

    # Text, or a list of parts.
    content: Any = None
    refusal: Any = None
    # Compatible servers use one of these two names for reasoning. Some send both, with the same text.
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(Struct, gc=False):
    index: Any = None
    delta: _Delta | None = None
    # The whole message, from servers that do not stream. Some send it beside the deltas.
    message: Any = None
    finish_reason: Any = None
    usage: Any = None


class _Error(Struct):
    code: int | str | None = None
    type: str | None = None
    message: str | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _UsageFields | None = None
    error: Any = None
    # The fields of an error of vLLM and others: {"object": "error", "message": …, "type": …, "code": …}.
    message: Any = None
    type: Any = None
    code: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIDecoder(SSEAnswerDecoder[_Chunk]):
    """The usage comes after `finish_reason`, so `[DONE]` finishes the answer. Some servers send no `[DONE]`;
    then the end of the stream finishes the answer. `[DONE]` without a `finish_reason` is an error, because
    gateways send it after a failure too."""

    def __init__(self, think_tags: ThinkTags = "true") -> None:
        super().__init__(_CHUNK, think_tags)

    def _decode_event(self, event: _Chunk) -> None:
        if (event.error or event.message) and (error := _error_in(event)):
            self._fail(error)
            return
        if choices := event.choices:
            # The usual case first: one choice, whose index is 0 or is left out.
            if len(choices) == 1 and not choices[0].index:
                self._decode_choice(choices[0])
            else:
                for choice in _first_choices(choices):
                    self._decode_choice(choice)
        if event.usage:
            self._decode_usage(event.usage)

    def _decode_body(self, body: _Chunk) -> None:
        if error := _error_in(body):
            self._fail(error, may_retry=False)
        elif not body.choices:
            self._fail_invalid()
        else:
            for choice in body.choices:
                choice.finish_reason = choice.finish_reason or "stop"
            self._decode_event(body)

    def _decode_choice(self, choice: _Choice) -> None:
        if (delta := choice.delta) is not None:
            if thinking := delta.reasoning_content or delta.reasoning:
                if isinstance(thinking, str):
                    self._add_reasoning(thinking)
                else:
                    self._add_reasoning_value(thinking)
            # The model sends a refusal in place of an answer. The user gets it as the answer.
            if text := delta.content or delta.refusal:
                if isinstance(text, str):
                    self._add_text(text)
                else:
                    self._add_content(delta.content)
        if choice.finish_reason:
            self._read_ending(choice.finish_reason)
            if choice.message and self._start is not None:
                self._decode_message(fields_of(choice.message))
        if choice.usage:  # Moonshot sends it here
            self._decode_usage(_UsageFields(**known_fields(choice.usage, _UsageFields)))

    def _decode_message(self, message: Mapping[str, object]) -> None:
        if not self._has_reasoning:
            self._add_reasoning_value(message.get("reasoning_content") or message.get("reasoning"))
        self._add_content(message.get("content") or message.get("refusal"))

    def _decode_usage(self, usage: _UsageFields) -> None:
        """Some servers send the usage with every chunk. Then the usage is cumulative, and only the last one
        is final."""
        cache_read = cache_write = reasoning = None
        if usage.prompt_tokens_details:
            details = fields_of(usage.prompt_tokens_details)
            cache_read, cache_write = details.get("cached_tokens"), details.get("cache_write_tokens")
        if usage.completion_tokens_details:
            reasoning = fields_of(usage.completion_tokens_details).get("reasoning_tokens")
        self._add_usage(
            usage.prompt_tokens,
            usage.completion_tokens,
            cache_read=cache_read,
            cache_write=cache_write,
            reasoning=reasoning,
            is_final=self._ending is not None,
        )


def _first_choices(choices: Iterable[_Choice]) -> list[_Choice]:
    """The parts of the first answer, whose index is 0. The position replaces an index that is no number."""
    indexes = ((count(choice.index), choice) for choice in choices)
    return [
        choice
        for position, (index, choice) in enumerate(indexes)
        if (position if index is None else index) == 0
    ]


def _error_in(chunk: _Chunk) -> UpstreamError | None:
    if has_value(chunk.error):
        return _to_error(read_error(chunk.error, _Error))
    if chunk.choices or not isinstance(chunk.message, str) or not chunk.message:
        return None
    fields = {"message": chunk.message, "type": chunk.type, "code": chunk.code}
    return _to_error(read_error(fields, _Error))


def _to_error(error: _Error | str) -> UpstreamError:
    """OpenAI names its errors in `code` or `type`. Other servers send the HTTP status as `code`, or only a
    sentence."""
    if isinstance(error, str):
        return refusal_in(error) or UpstreamError(_SENT_AN_ERROR)
    code = str(error.code or "")
    status = int(code) if code.isdecimal() else None
    if status is not None:
        kind: type[UpstreamError] | None = type(error_for_status(status))
    else:
        kind = _ERRORS.get(code) or _ERRORS.get(error.type or "")
    refusal = None
    # OpenRouter sends 403 for flagged messages.
    if kind is None or issubclass(kind, errors.UpstreamRejected) or status == 403:
        refusal = refusal_in(code, error.type, error.message, status=status or 400)
    return refusal or (kind or UpstreamError)(_SENT_AN_ERROR)


_SENT_AN_ERROR = "the model provider sent an error"
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "authentication_error": errors.UpstreamAuth,
    "invalid_api_key": errors.UpstreamAuth,
    "insufficient_quota": errors.UpstreamUnpaid,
    "invalid_request_error": errors.RequestRefused,
    "overloaded_error": errors.UpstreamOverloaded,
    "rate_limit_error": errors.UpstreamRateLimited,
    "rate_limit_exceeded": errors.UpstreamRateLimited,
    "server_error": UpstreamError,
    "timeout": errors.UpstreamTimeout,
}
