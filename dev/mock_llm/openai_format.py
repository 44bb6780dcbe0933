"""OpenAI's Chat Completions API, with the field names of its SDK 3.52, and the API of compatible servers."""

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
    model messages stream stream_options max_tokens max_completion_tokens temperature top_p n stop seed user
    frequency_penalty presence_penalty logit_bias logprobs top_logprobs response_format reasoning_effort
    tools tool_choice parallel_tool_calls metadata store service_tier safety_identifier prompt_cache_key
"""
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
WANTS_COMPLETION_TOKENS = re.compile(r"gpt-[56]|o\d")
ERROR_TYPES = {429: ("requests", "rate_limit_exceeded"), 401: ("invalid_request_error", "invalid_api_key")}
DONE = b"data: [DONE]\n\n"


class OpenAI:
    ping = b": keep-alive\n\n"
    bad_event = b'data: {"id":"chatcmpl-mock","choices":[\n\n'
    endless = b'data: {"id":"chatcmpl-mock","choices":[{"index":0,"delta":{"content":"'
    default_usage = "end"

    @property
    def error_event(self) -> bytes:
        return b"data: " + self.error(500, VENDOR_WORDS)[1] + b"\n\n"

    def check(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        if not headers.get("authorization", "").startswith("Bearer "):
            raise Refusal(401, "You didn't provide an API key.")
        check_fields(body, FIELDS, "Unrecognized request argument supplied: {}")
        self.check_roles(body, check_messages(body, ROLES))
        check_number(body, "temperature", 0, 2)
        check_number(body, "top_p", 0, 1)
        check_tokens(body, "max_tokens")
        check_tokens(body, "max_completion_tokens")
        if "stream_options" in body and not body.get("stream"):
            raise Refusal(400, "stream_options is only allowed when stream is enabled.", "stream_options")
        self.check_limit(body)

    def check_roles(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """OpenAI accepts roles in any order."""

    def check_limit(self, body: dict[str, Any]) -> None:
        """Refuses the token limit field that the model does not accept."""
        if "max_tokens" not in body:
            return
        if "max_completion_tokens" in body:
            raise Refusal(400, "max_tokens and max_completion_tokens cannot both be set.", "max_tokens")
        if WANTS_COMPLETION_TOKENS.match(body["model"]):
            raise Refusal(400, "Use 'max_completion_tokens' instead with this model.", "max_tokens")

    def chat_request(self, body: dict[str, Any], script: Script) -> ChatRequest:
        options = body.get("stream_options") or {}
        return ChatRequest(
            body["model"],
            script,
            stream=bool(body.get("stream")),
            include_usage=options.get("include_usage") is True,
        )

    def answer(self, request: ChatRequest) -> Answer:
        if not request.stream:
            return Answer(JSON, end=(json_bytes(self._completion(request)),))
        script = request.script
        end = [self._chunk(request, {}, script.output, finish=_finish_reason(script))]
        if self._usage_mode(request) != "none" and (request.include_usage or script.usage in ("end", "zero")):
            end.append(_data(_head(request) | {"choices": [], "usage": _usage(script, script.output)}))
        return Answer(
            SSE,
            (self._chunk(request, self.first_delta(), 0),),
            tuple(
                self._chunk(request, delta, i)
                for i, delta in enumerate(self.thinking_deltas(script), start=1)
            ),
            tuple(
                self._chunk(request, {"content": _content(token, script)}, i)
                for i, token in enumerate(answer_tokens(script), start=script.thinking + 1)
            ),
            tuple(end),
            (DONE,),
        )

    def too_long(self, prompt: int, answer: int, context: int) -> Refusal:
        return Refusal(
            400,
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{prompt + answer} tokens ({prompt} in the messages, {answer} in the completion). "
            f"{VENDOR_WORDS}",
            "messages",
            "context_length_exceeded",
        )

    def filtered(self) -> Refusal:
        """As Azure refuses."""
        return Refusal(
            400,
            f"The response was filtered due to the prompt triggering our policy. {VENDOR_WORDS}",
            "prompt",
            "content_filter",
        )

    def unknown_model(self, model: str) -> Refusal:
        return Refusal(
            404,
            f"The model `{model}` does not exist or you do not have access to it. {VENDOR_WORDS}",
            code="model_not_found",
        )

    def error(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> tuple[int, bytes]:
        kind, usual_code = ERROR_TYPES.get(
            status, ("server_error" if status >= 500 else "invalid_request_error", None)
        )
        error = {"message": message, "type": kind, "param": param, "code": code or usual_code}
        return 503 if status == 529 else status, json_bytes({"error": error})

    def first_delta(self) -> dict[str, Any]:
        return {"role": "assistant", "content": "", "refusal": None}

    def thinking_deltas(self, script: Script) -> list[dict[str, Any]]:
        """OpenAI counts reasoning tokens, but does not send them."""
        return [{"content": _content(token, script)} for token in tagged_thinking_tokens(script)]

    def _chunk(
        self, request: ChatRequest, delta: dict[str, Any], output: int, *, finish: str | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = _head(request) | {"choices": [choice]}
        if self._usage_mode(request) == "every":
            chunk["usage"] = _usage(request.script, output)
        elif request.include_usage:
            chunk["usage"] = None
        return _data(chunk)

    def _usage_mode(self, request: ChatRequest) -> str:
        return self.default_usage if request.script.usage == "default" else request.script.usage

    def _completion(self, request: ChatRequest) -> dict[str, Any]:
        script = request.script
        text = "".join(tagged_thinking_tokens(script)) + answer_text(script)
        message = {"role": "assistant", "content": _content(text, script), "refusal": None}
        if not script.tags and self.thinking_deltas(script):
            message["reasoning_content"] = thinking_text(script)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(script)}
        completion = _head(request) | {"object": "chat.completion", "choices": [choice]}
        if script.usage != "none":
            completion["usage"] = _usage(script, script.output)
        return completion


class CompatibleServer(OpenAI):
    """OpenAI's API with the differences of NVIDIA's servers: usage in every chunk, an empty role, reasoning
    in the stream, the older name of the token limit, and the status as the code of an error."""

    default_usage = "every"

    def check_limit(self, body: dict[str, Any]) -> None:
        if "max_completion_tokens" in body:
            raise Refusal(400, "Unsupported parameter: max_completion_tokens", "max_completion_tokens")

    def first_delta(self) -> dict[str, Any]:
        return {"role": "", "content": None}

    def thinking_deltas(self, script: Script) -> list[dict[str, Any]]:
        if script.tags:
            return super().thinking_deltas(script)
        return [{"content": None, "reasoning_content": token} for token in thinking_tokens(script)]

    def check_roles(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """As the chat templates of many models do."""
        has_system = messages[0]["role"] in {"system", "developer"}
        if has_system and "gemma" in body["model"]:
            raise Refusal(400, "System role not supported")
        for i, message in enumerate(messages[has_system:]):
            if message["role"] != ("user", "assistant")[i % 2]:
                raise Refusal(400, "Conversation roles must alternate user/assistant/user/assistant/...")

    def too_long(self, prompt: int, answer: int, context: int) -> Refusal:
        return Refusal(
            400,
            f"This model's maximum context length is {context} tokens. However, you requested {answer} "
            f"output tokens and your prompt contains at least {prompt} input tokens. {VENDOR_WORDS}",
        )

    def filtered(self) -> Refusal:
        """As DeepSeek refuses."""
        return Refusal(400, f"Content Exists Risk. {VENDOR_WORDS}")

    def error(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,  # noqa: ARG002
    ) -> tuple[int, bytes]:
        status = 503 if status == 529 else status
        kind = "BadRequestError" if status < 500 else "InternalServerError"
        return status, json_bytes(
            {"error": {"message": message, "type": kind, "param": param, "code": status}}
        )


def _content(text: str, script: Script) -> str | list[dict[str, str]]:
    return [{"type": "text", "text": text}] if script.parts else text


def _finish_reason(script: Script) -> str | None:
    return None if script.finish == "none" else script.finish


def _head(request: ChatRequest) -> dict[str, Any]:
    return {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(chunk) + b"\n\n"


def _usage(script: Script, output: int) -> dict[str, Any]:
    if script.usage == "zero":
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {
        "prompt_tokens": script.input,
        "completion_tokens": output,
        "total_tokens": script.input + output,
        "prompt_tokens_details": {
            "cached_tokens": script.cached,
            "cache_write_tokens": script.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": min(script.thinking, output)},
    }
