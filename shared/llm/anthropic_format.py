"""The format of Anthropic's Messages API: https://docs.anthropic.com/en/api/messages-streaming."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from shared import errors
from shared.errors import UpstreamError
from shared.events import FinishReason, Usage
from shared.llm.decoding import SSEAnswerDecoder, count
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import (
    ChatRequest,
    Decoder,
    HttpRequest,
    alternating,
    error_for_response,
    refusal_in,
)


class AnthropicFormat:
    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest:
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if api_key:
            headers["x-api-key"] = api_key
        body: dict[str, object] = {
            "model": target.model,
            "max_tokens": chat_request.max_tokens,
            "messages": [
                {"role": message.role, "content": message.content}
                for message in alternating(chat_request.messages)
            ],
            "stream": True,
        }
        if chat_request.system:
            body["system"] = chat_request.system
        if chat_request.temperature is not None:
            body["temperature"] = chat_request.temperature
        return HttpRequest(f"{target.base_url}/v1/messages", headers, msgspec.json.encode(body))

    def decoder(self) -> Decoder:
        return AnthropicDecoder()

    def error(self, status: int, body: bytes) -> UpstreamError:
        return error_for_response(status, body)


class _OutputDetails(Struct):
    thinking_tokens: int | None = None


class _UsageFields(Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Message(Struct):
    usage: _UsageFields | None = None


class _Content(Struct, gc=False):
    """A content block, the delta of a content block, or the delta of `message_delta`."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Error(Struct):
    type: str | None = None
    message: str | None = None


class _Event(Struct, gc=False):
    type: str | None = None
    message: _Message | None = None
    content_block: _Content | None = None
    delta: _Content | None = None
    usage: _UsageFields | None = None
    error: _Error | str | None = None


_EVENT = msgspec.json.Decoder(_Event)


class AnthropicDecoder(SSEAnswerDecoder[_Event]):
    def __init__(self) -> None:
        super().__init__(_EVENT)
        self._reason: FinishReason | None = None
        self._usage = _UsageFields()

    def _decode_event(self, event: _Event) -> None:
        match event.type:
            case "content_block_delta" | "content_block_start":
                self._decode_content(event.delta or event.content_block)
            case "message_start":
                self._decode_start(event.message)
            case "message_delta":
                self._decode_message_delta(event)
            case "message_stop":
                self._decode_stop()
            case "error":
                self._fail(_to_error(event.error))

    def _decode_content(self, content: _Content | None) -> None:
        if content is None:
            return
        if content.text and content.type in {"text_delta", "text"}:
            self._add_text(content.text)
        elif content.thinking and content.type in {"thinking_delta", "thinking"}:
            self._add_reasoning(content.thinking)

    def _decode_start(self, message: _Message | None) -> None:
        if message and message.usage:
            # The output count of `message_start` is only a placeholder.
            message.usage.output_tokens = None
            self._decode_usage(message.usage)

    def _decode_message_delta(self, event: _Event) -> None:
        if event.delta and event.delta.stop_reason:
            self._reason = _REASONS.get(event.delta.stop_reason, "stop")
        if event.usage:
            self._decode_usage(event.usage)

    def _decode_usage(self, update: _UsageFields) -> None:
        """Counts are cumulative: the latest value of each replaces earlier ones. `message_delta` may leave
        out the counts of `message_start`."""
        usage = self._usage
        for field in _UsageFields.__struct_fields__:
            if (value := getattr(update, field)) is not None:
                setattr(usage, field, value)
        if usage.input_tokens is None and usage.output_tokens is None:
            return
        cache_read, cache_write = (
            count(usage.cache_read_input_tokens),
            count(usage.cache_creation_input_tokens),
        )
        details = usage.output_tokens_details
        known = usage.input_tokens is not None and usage.output_tokens is not None
        self._events.append(
            Usage(
                input=count(count(usage.input_tokens) + cache_read + cache_write),
                output=count(usage.output_tokens),
                cache_read=cache_read,
                cache_write=cache_write,
                reasoning=count(details.thinking_tokens) if details else 0,
                estimated=not (known and self._reason),
            )
        )

    def _decode_stop(self) -> None:
        # No stop reason: a gateway has ended the stream normally after a failure.
        if self._reason:
            self._finish(self._reason)
        else:
            self._fail_truncated()


def _to_error(error: _Error | str | None) -> UpstreamError:
    name, message = (error.type or "", error.message) if isinstance(error, _Error) else ("", error)
    kind = _ERRORS.get(name)
    refusal = refusal_in(name, message) if kind in {None, errors.RequestRefused} else None
    return refusal or (kind or UpstreamError)("the model provider sent an error")


_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "api_error": UpstreamError,
    "invalid_request_error": errors.RequestRefused,
    "authentication_error": errors.UpstreamAuth,
    "billing_error": errors.UpstreamUnpaid,
    "permission_error": errors.UpstreamAuth,
    "rate_limit_error": errors.UpstreamRateLimited,
    "timeout_error": errors.UpstreamTimeout,
    "overloaded_error": errors.UpstreamOverloaded,
}
