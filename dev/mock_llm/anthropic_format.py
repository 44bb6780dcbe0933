"""Anthropic's Messages API, with the event and field names of its SDK 2.11."""

import re
from collections.abc import Mapping
from typing import Any

from dev.mock_llm.scripts import (
    Script,
    answer_text,
    answer_tokens,
    tagged_thinking_tokens,
    thinking_text,
    thinking_tokens,
)
from dev.mock_llm.wire import (
    JSON,
    SSE,
    VENDOR_WORDS,
    Answer,
    ChatRequest,
    Refusal,
    check_fields,
    check_messages,
    check_number,
    check_tokens,
    json_bytes,
)

FIELDS = """
    model messages max_tokens system stream temperature top_p top_k stop_sequences metadata thinking
    output_config service_tier tools tool_choice cache_control container inference_geo speed
"""
WITHOUT_SAMPLING = re.compile(r"claude-(sonnet-5|opus-5|haiku-5|fable-|opus-4-[78])")
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "none": None}


class Anthropic:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    bad_event = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":\n\n'
    endless = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"'

    @property
    def error_event(self) -> bytes:
        return b"event: error\ndata: " + self.error(529, VENDOR_WORDS)[1] + b"\n\n"

    def check(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        if not headers.get("x-api-key") and not headers.get("authorization", "").startswith("Bearer "):
            raise Refusal(401, "x-api-key header is required")
        if not headers.get("anthropic-version"):
            raise Refusal(400, "anthropic-version: header is required")
        check_fields(body, FIELDS, "{}: Extra inputs are not permitted")
        messages = check_messages(body, frozenset({"user", "assistant"}))
        for i, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[i % 2]:
                raise Refusal(400, 'messages: roles must alternate, and the first must be "user"', "messages")
            if not message["content"]:
                raise Refusal(400, f"messages.{i}: content must not be empty", "messages")
        if "max_tokens" not in body:
            raise Refusal(400, "max_tokens: Field required", "max_tokens")
        check_tokens(body, "max_tokens")
        _check_sampling(body)

    def chat_request(self, body: dict[str, Any], script: Script) -> ChatRequest:
        return ChatRequest(body["model"], script, stream=bool(body.get("stream")))

    def answer(self, request: ChatRequest) -> Answer:
        script = request.script
        if not request.stream:
            return Answer(JSON, end=(json_bytes(_whole_message(request)),))
        index = 1 if script.thinking and not script.tags else 0
        text_start = _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        thinking = [_delta(0, type="text_delta", text=token) for token in tagged_thinking_tokens(script)]
        if index:
            thinking = [_delta(0, type="thinking_delta", thinking=token) for token in thinking_tokens(script)]
            thinking[-1] += SIGNATURE + _event("content_block_stop", index=0) + text_start
        return Answer(
            SSE,
            (_message_start(request), THINKING_START if index else text_start, self.ping),
            tuple(thinking),
            tuple(_text_events(script, index)),
            (
                _event("content_block_stop", index=index),
                _message_delta(script, STOP_REASONS.get(script.finish, script.finish), script.output),
            ),
            (_event("message_stop"),),
        )

    def too_long(self, prompt: int, answer: int, context: int) -> Refusal:
        if prompt > context:
            return Refusal(400, f"prompt is too long: {prompt} tokens > {context} maximum. {VENDOR_WORDS}")
        return Refusal(
            400,
            f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {context}, decrease "
            f"input length or `max_tokens` and try again. {VENDOR_WORDS}",
        )

    def filtered(self) -> Refusal:
        return Refusal(400, f"Output blocked by content filtering policy. {VENDOR_WORDS}")

    def unknown_model(self, model: str) -> Refusal:
        return Refusal(404, f"model: {model}. {VENDOR_WORDS}")

    def error(
        self,
        status: int,
        message: str,
        param: str | None = None,  # noqa: ARG002
        code: str | None = None,  # noqa: ARG002
    ) -> tuple[int, bytes]:
        error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
        return status, json_bytes({"type": "error", "error": error, "request_id": "req_mock"})


def _check_sampling(body: dict[str, Any]) -> None:
    check_number(body, "temperature", 0, 1)
    check_number(body, "top_p", 0, 1)
    if not WITHOUT_SAMPLING.match(body["model"]):
        return
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            raise Refusal(400, f"`{name}` is not supported for this model", name)


def _text_events(script: Script, index: int) -> list[bytes]:
    events = [_delta(index, type="text_delta", text=token) for token in answer_tokens(script)]
    if script.usage == "every":
        return [
            event + _message_delta(script, None, script.thinking + i)
            for i, event in enumerate(events, start=1)
        ]
    return events


def _event(name: str, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json_bytes({"type": name, **fields}) + b"\n\n"


def _delta(index: int, **delta: str) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)


def _message_start(request: ChatRequest) -> bytes:
    usage = _usage(request.script, 1)
    return _event("message_start", message=_message(request.model) | {"content": [], "usage": usage})


def _message_delta(script: Script, stop_reason: str | None, output: int) -> bytes:
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    if script.usage == "none":
        return _event("message_delta", delta=delta)
    usage = {"input_tokens": 0, "output_tokens": 0} if script.usage == "zero" else _usage(script, output)
    return _event("message_delta", delta=delta, usage=usage)


THINKING_START = _event(
    "content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}
)
SIGNATURE = _delta(0, type="signature_delta", signature="bW9jaw==")


def _whole_message(request: ChatRequest) -> dict[str, Any]:
    script = request.script
    content = [{"type": "text", "text": "".join(tagged_thinking_tokens(script)) + answer_text(script)}]
    if script.thinking and not script.tags:
        thinking = {"type": "thinking", "thinking": thinking_text(script), "signature": "bW9jaw=="}
        content.insert(0, thinking)
    return _message(request.model) | {
        "content": content,
        "stop_reason": STOP_REASONS.get(script.finish, script.finish),
        "usage": _usage(script, script.output),
    }


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(script: Script, output: int) -> dict[str, int]:
    if script.usage == "none":
        return {}
    return {
        "input_tokens": script.input - script.cached - script.cache_write,
        "cache_creation_input_tokens": script.cache_write,
        "cache_read_input_tokens": script.cached,
        "output_tokens": output,
    }
