"""The format of Ollama's chat API, one JSON object on each line:
https://github.com/ollama/ollama/blob/main/docs/api.md."""

import msgspec
from msgspec import Struct

from shared import costs
from shared.errors import UpstreamError
from shared.events import FinishReason, Usage
from shared.llm.decoding import AnswerDecoder, count, parse
from shared.llm.providers import ModelTarget
from shared.llm.shortening import prompt_bytes
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

    def decoder(self) -> Decoder:
        return OllamaDecoder()

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
    content: str | None = None
    thinking: str | None = None


class _Line(Struct, gc=False):
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: object = None


_LINE = msgspec.json.Decoder(_Line)


class OllamaDecoder(AnswerDecoder):
    def __init__(self) -> None:
        super().__init__()
        self._unfinished = bytearray()

    def _decode(self, data: bytes) -> None:
        *lines, unfinished = data.split(b"\n")
        for line in lines:
            self._decode_line(bytes(self._unfinished) + line)
            self._unfinished.clear()
            if self._ended:
                return
        self._unfinished += unfinished
        if len(self._unfinished) > _MAX_LINE_BYTES:
            self._fail_invalid()

    def _decode_end(self) -> None:
        # The last line may have no line end. If the last line is not JSON, the stream was cut.
        if line := parse(_LINE, bytes(self._unfinished)):
            self._handle_line(line)
        if not self._ended:
            self._fail_truncated()

    def _decode_line(self, data: bytes) -> None:
        if len(data) > _MAX_LINE_BYTES:
            self._fail_invalid()
        elif line := parse(_LINE, data):
            self._handle_line(line)
        elif data.strip():
            self._fail_invalid()

    def _handle_line(self, line: _Line) -> None:
        if line.error:
            self._fail(refusal_in(line.error) or UpstreamError("the model provider sent an error"))
            return
        if line.message:
            if line.message.thinking:
                self._add_reasoning(line.message.thinking)
            if line.message.content:
                self._add_text(line.message.content)
        # Some of Ollama's engines send the reason without `done`.
        if line.done or line.done_reason:
            self._handle_end(line)

    def _handle_end(self, line: _Line) -> None:
        counts = line.prompt_eval_count, line.eval_count
        if counts != (None, None):
            # A missing count means unknown. Ollama does not count a prompt that was cached as a whole.
            self._events.append(Usage(count(counts[0]), count(counts[1]), estimated=None in counts))
        if line.done_reason in {"load", "unload"}:
            # Ollama has moved the model in or out of memory, and has not answered.
            self._fail(UpstreamError("the model provider loaded the model and did not answer"))
        else:
            reason: FinishReason = "length" if line.done_reason == "length" else "stop"
            self._finish(reason)
