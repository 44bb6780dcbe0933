"""The format of Ollama's chat API, one JSON object on each line:
https://github.com/ollama/ollama/blob/main/docs/api.md."""

import msgspec
from msgspec import Struct

from shared.errors import UpstreamError
from shared.events import FinishReason, Usage
from shared.llm.decoding import AnswerDecoder, count, parse
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import ChatRequest, Decoder, HttpRequest, error_for_status

_MAX_LINE_BYTES = 1024 * 1024


class OllamaFormat:
    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if api_key:  # Only Ollama's cloud needs an API key.
            headers["authorization"] = f"Bearer {api_key}"
        messages = [{"role": message.role, "content": message.content} for message in chat_request.messages]
        if chat_request.system:
            messages.insert(0, {"role": "system", "content": chat_request.system})
        options: dict[str, float] = {"num_predict": chat_request.max_tokens}
        if chat_request.temperature is not None:
            options["temperature"] = chat_request.temperature
        body = {"model": target.model, "messages": messages, "stream": True, "options": options}
        return HttpRequest(f"{target.base_url}/api/chat", headers, msgspec.json.encode(body))

    def decoder(self) -> Decoder:
        return OllamaDecoder()

    def error(self, status: int, body: bytes) -> UpstreamError:  # noqa: ARG002
        return error_for_status(status)


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
            self._fail(UpstreamError("the model provider sent an error"))
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
