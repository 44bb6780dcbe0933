"""The format of Ollama's chat API, one JSON object on each line:
https://github.com/ollama/ollama/blob/main/docs/api.md."""

from typing import Any

import msgspec
from msgspec import Struct

from shared import costs
from shared.errors import UpstreamError
from shared.llm.decoding import MAX_BODY_BYTES, NOT_JSON, AnswerDecoder, has_value, parse, parse_tolerantly
from shared.llm.providers import ModelTarget
from shared.llm.shortening import prompt_bytes
from shared.llm.think_tags import ThinkTags
from shared.llm.wire_format import (
    ChatRequest,
    Decoder,
    HttpRequest,
    alternating,
    error_for_response,
    refusal_in,
)

_MAX_LINE_BYTES = 1024 * 1024
# Ollama's own default.
_LEAST_NUM_CTX = 4096
# Fewer than text has, so that the window is not too small.
_BYTES_PER_TOKEN = 3


class OllamaFormat:
    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if api_key:  # Only Ollama's cloud needs an API key.
            headers["authorization"] = f"Bearer {api_key}"
        messages = [
            {"role": message.role, "content": message.content}
            for message in alternating(chat_request.messages)
        ]
        if chat_request.system:
            messages.insert(0, {"role": "system", "content": chat_request.system})
        options: dict[str, float] = {
            "num_predict": chat_request.max_tokens,
            "num_ctx": target.num_ctx or _num_ctx(chat_request, target),
        }
        if chat_request.temperature is not None:
            options["temperature"] = chat_request.temperature
        body = {"model": target.model, "messages": messages, "stream": True, "options": options}
        return HttpRequest(f"{target.base_url}/api/chat", headers, msgspec.json.encode(body))

    def decoder(self, think_tags: ThinkTags = "true") -> Decoder:
        return OllamaDecoder(think_tags)

    def error(self, status: int, body: bytes) -> UpstreamError:
        return error_for_response(status, body)


def _num_ctx(chat_request: ChatRequest, target: ModelTarget) -> int:
    """The context window for this request. With a smaller one Ollama cuts the beginning of the prompt without
    an error. Powers of two, because Ollama loads the model again for each other window."""
    needed = prompt_bytes(chat_request) // _BYTES_PER_TOKEN + chat_request.max_tokens
    window = max(_LEAST_NUM_CTX, 1 << (needed - 1).bit_length())
    known = costs.lookup(target.provider.name, target.model)
    return window if known is None else min(window, known.context)


class _Message(Struct, gc=False):
    content: Any = None
    thinking: Any = None


class _Line(Struct, gc=False):
    message: _Message | None = None
    done: bool | None = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


_LINE = msgspec.json.Decoder(_Line)


class OllamaDecoder(AnswerDecoder):
    def __init__(self, think_tags: ThinkTags = "true") -> None:
        super().__init__(think_tags)
        self._unfinished = bytearray()
        # Whether a line of the format has come, and whether another JSON object has.
        self._has_lines = False
        self._has_odd_lines = False
        # The body is one JSON object on several lines, from a server that cannot stream.
        self._is_body = False

    def _decode(self, data: bytes) -> None:
        if self._is_body:
            self._unfinished += data
            if len(self._unfinished) > MAX_BODY_BYTES:
                self._fail_invalid()
            return
        *lines, unfinished = data.split(b"\n")
        if self._unfinished and lines:
            lines[0] = bytes(self._unfinished) + lines[0]
            self._unfinished.clear()
        for line in lines:
            try:
                decoded = _LINE.decode(line)
            except NOT_JSON:
                self._decode_odd_line(line)
                if self._is_body:
                    self._decode(b"\n".join([*lines[lines.index(line) :], unfinished]))
                    return
            else:
                self._handle_line(decoded)
            if self._ended:
                return
        self._unfinished += unfinished
        if len(self._unfinished) > _MAX_LINE_BYTES:
            self._fail_invalid()

    def _decode_end(self) -> None:
        # The last line may have no line end. If the last line is not JSON, the stream was cut.
        line = parse(_LINE, bytes(self._unfinished))
        if line is not None:
            self._handle_line(line)
        is_cut = line is None and not self._is_body and self._unfinished.startswith(b"{")
        if self._has_lines or is_cut or not (self._has_odd_lines or self._unfinished.strip()):
            self._fail_truncated()
        else:
            self._fail_invalid()

    def _decode_odd_line(self, data: bytes) -> None:
        if len(data) > _MAX_LINE_BYTES:
            self._fail_invalid()
        elif line := parse_tolerantly(_Line, data):
            self._handle_line(line)
        elif not self._has_lines and data.strip() == b"{":
            self._is_body = True
        elif data.strip():
            self._fail_invalid()

    def _handle_line(self, line: _Line) -> None:
        if line.error and has_value(line.error):
            self._fail(refusal_in(line.error) or UpstreamError("the model provider sent an error"))
            return
        if line.message is not None:
            self._has_lines = True
            if line.message.thinking:
                self._add_reasoning_value(line.message.thinking)
            if content := line.message.content:
                if isinstance(content, str):
                    self._add_text(content)
                else:
                    self._add_content(content)
        # Some of Ollama's engines send the reason without `done`.
        if line.done or line.done_reason:
            self._handle_end(line)
        elif line.message is None:
            self._has_odd_lines = True

    def _handle_end(self, line: _Line) -> None:
        self._ending = "stop"  # Old versions of Ollama send no reason.
        if line.done_reason in ("load", "unload"):
            # Ollama has moved the model in or out of memory, and has not answered.
            self._ending = UpstreamError("the model provider loaded the model and did not answer")
        elif line.done_reason:
            self._read_ending(line.done_reason)
        # A missing count means unknown. Ollama does not count a prompt that was cached as a whole.
        self._add_usage(line.prompt_eval_count, line.eval_count, is_final=True)
        self._finish()
