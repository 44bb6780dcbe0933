"""Ollama's chat API: one JSON object per line. Answers are streamed by default."""

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
    VENDOR_WORDS,
    Answer,
    ChatRequest,
    Refusal,
    check_fields,
    check_messages,
    json_bytes,
    prompt_texts,
)

FIELDS = "model messages stream options keep_alive format tools think logprobs top_logprobs"
DEFAULT_NUM_CTX = 4096
ROLES = frozenset({"system", "user", "assistant", "tool"})


class Ollama:
    # The format has no keep-alive. A line without text is the nearest equivalent.
    ping = b'{"model":"mock","message":{"role":"assistant","content":""},"done":false}\n'
    bad_event = b'{"model":"mock","message":\n'
    endless = b'{"model":"mock","message":{"role":"assistant","content":"'

    @property
    def error_event(self) -> bytes:
        return self.error(500, VENDOR_WORDS)[1] + b"\n"

    def check(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:  # noqa: ARG002
        """Stricter than Ollama, which ignores unknown fields such as a token limit outside `options`."""
        check_fields(body, FIELDS, "unknown field {}")
        check_messages(body, ROLES)
        options = body.get("options") or {}
        if not isinstance(options, dict):
            raise Refusal(400, "options must be an object", "options")
        # Ollama cuts the beginning of such a prompt without an error.
        prompt = sum(len(text.encode("utf-8", "replace")) for text in prompt_texts(body)) // 4
        window = options.get("num_ctx", DEFAULT_NUM_CTX)
        if prompt + options.get("num_predict", 0) > window:
            raise self.too_long(prompt, options.get("num_predict", 0), window)

    def chat_request(self, body: dict[str, Any], script: Script) -> ChatRequest:
        return ChatRequest(body["model"], script, stream=body.get("stream") is not False)

    def answer(self, request: ChatRequest) -> Answer:
        script = request.script
        if not request.stream:
            text = "".join(tagged_thinking_tokens(script)) + answer_text(script)
            message = {"role": "assistant", "content": text}
            if script.thinking and not script.tags:
                message["thinking"] = thinking_text(script)
            return Answer(JSON, end=(json_bytes(_last(request, message)),))
        return Answer(
            "application/x-ndjson",
            (),
            tuple(_line(request, content=token) for token in tagged_thinking_tokens(script))
            or tuple(_line(request, content="", thinking=token) for token in thinking_tokens(script)),
            tuple(_line(request, content=token) for token in answer_tokens(script)),
            (json_bytes(_last(request, {"role": "assistant", "content": ""})) + b"\n",),
        )

    def too_long(self, prompt: int, answer: int, context: int) -> Refusal:
        return Refusal(
            400,
            f"input length ({prompt + answer} tokens) exceeds the model's maximum context length "
            f"({context} tokens). {VENDOR_WORDS}",
        )

    def filtered(self) -> Refusal:
        """Ollama has no filter. A server behind it may have one."""
        return Refusal(400, f"Content Exists Risk. {VENDOR_WORDS}")

    def unknown_model(self, model: str) -> Refusal:
        return Refusal(404, f'model "{model}" not found, try pulling it first. {VENDOR_WORDS}')

    def error(
        self,
        status: int,
        message: str,
        param: str | None = None,  # noqa: ARG002
        code: str | None = None,  # noqa: ARG002
    ) -> tuple[int, bytes]:
        return 503 if status == 529 else status, json_bytes({"error": message})


def _line(request: ChatRequest, **message: str) -> bytes:
    return json_bytes(_head(request) | {"message": {"role": "assistant", **message}, "done": False}) + b"\n"


def _last(request: ChatRequest, message: dict[str, str]) -> dict[str, Any]:
    script = request.script
    last = _head(request) | {"message": message, "done": True}
    if script.finish != "none":
        # Ollama has no content filter, so it has no finish reason for one.
        last["done_reason"] = "stop" if script.finish == "content_filter" else script.finish
    last |= {"total_duration": 2_000_000_000, "load_duration": 1_000_000}
    if script.usage == "zero":
        last |= {"prompt_eval_count": 0, "eval_count": 0}
    elif script.usage != "none":
        last |= {"prompt_eval_count": script.input, "eval_count": script.output}
    return last


def _head(request: ChatRequest) -> dict[str, Any]:
    return {"model": request.model, "created_at": "2026-01-01T00:00:00.000000Z"}
