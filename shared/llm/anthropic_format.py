"""The format of Anthropic's Messages API: https://docs.anthropic.com/en/api/messages-streaming."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from shared import errors
from shared.errors import UpstreamError
from shared.llm.decoding import MAX_COUNT, SSEAnswerDecoder, count, fields_of, has_value, read_error
from shared.llm.providers import ModelTarget
from shared.llm.think_tags import ThinkTags
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

    def decoder(self, think_tags: ThinkTags = "true") -> Decoder:
        return AnthropicDecoder(think_tags)

    def error(self, status: int, body: bytes) -> UpstreamError:
        return error_for_response(status, body)


class _Delta(Struct, gc=False):
    """The delta of a content block, or the delta of `message_delta`."""

    type: str | None = None
    text: Any = None
    thinking: Any = None
    stop_reason: Any = None


class _Error(Struct):
    type: str | None = None
    message: str | None = None


class _Event(Struct, gc=False):
    type: str | None = None
    message: Any = None
    content_block: Any = None
    delta: _Delta | None = None
    usage: Any = None
    error: Any = None
    # The fields of a whole message, from servers that do not stream.
    content: Any = None
    stop_reason: Any = None


_EVENT = msgspec.json.Decoder(_Event)
_USAGE_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


class AnthropicDecoder(SSEAnswerDecoder[_Event]):
    def __init__(self, think_tags: ThinkTags = "true") -> None:
        super().__init__(_EVENT, think_tags)
        self._counts: dict[str, int] = {}
        self._output_details: object = None

    def _decode_event(self, event: _Event) -> None:
        match event.type:
            case "content_block_delta":
                self._decode_delta(event.delta)
            case "content_block_start":
                self._decode_block(fields_of(event.content_block))
            case "message_start":
                # The output count of `message_start` is only a placeholder.
                usage = fields_of(fields_of(event.message).get("usage"))
                self._decode_usage({**usage, "output_tokens": None})
            case "message_delta":
                if event.delta and event.delta.stop_reason:
                    self._read_ending(event.delta.stop_reason)
                self._decode_usage(fields_of(event.usage))
            case "message_stop":
                self._finish()
            case "error":
                self._fail(_to_error(read_error(event.error, _Error)))

    def _decode_body(self, body: _Event) -> None:
        if body.type == "error" or has_value(body.error):
            self._fail(_to_error(read_error(body.error, _Error)), may_retry=False)
        elif not isinstance(body.content, list):
            self._fail_invalid()
        else:
            for block in body.content:
                self._decode_block(fields_of(block))
            if body.stop_reason:
                self._read_ending(body.stop_reason)
            self._ending = self._ending or "stop"
            self._decode_usage(fields_of(body.usage))

    def _decode_delta(self, delta: _Delta | None) -> None:
        if delta is None:
            return
        if delta.type == "text_delta":
            if isinstance(delta.text, str):
                self._add_text(delta.text)
            else:
                self._add_content(delta.text)
        elif delta.type == "thinking_delta":
            self._add_reasoning_value(delta.thinking)

    def _decode_block(self, block: Mapping[str, object]) -> None:
        if block.get("type") == "text" and isinstance(text := block.get("text"), str):
            self._add_text(text)
        elif block.get("type") == "thinking":
            self._add_reasoning_value(block.get("thinking"))

    def _decode_usage(self, usage: Mapping[str, object]) -> None:
        """Counts are cumulative: the latest value of each replaces earlier ones. `message_delta` may leave
        out the counts of `message_start`, and some compatible servers write 0 for them."""
        for name in _USAGE_COUNTS:
            if number := count(usage.get(name)):
                self._counts[name] = number
        self._output_details = usage.get("output_tokens_details") or self._output_details
        sent, cache_write, cache_read, _ = (self._counts.get(name, 0) for name in _USAGE_COUNTS)
        self._add_usage(
            min(sent + cache_write + cache_read, MAX_COUNT),
            usage.get("output_tokens"),
            cache_read=cache_read,
            cache_write=cache_write,
            reasoning=fields_of(self._output_details).get("thinking_tokens"),
            is_final=self._ending is not None,
        )


def _to_error(error: _Error | str | None) -> UpstreamError:
    name, message = (error.type or "", error.message) if isinstance(error, _Error) else ("", error)
    kind = _ERRORS.get(name)
    refusal = refusal_in(name, message) if kind in {None, errors.RequestRefused} else None
    return refusal or (kind or UpstreamError)("the model provider sent an error")


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
