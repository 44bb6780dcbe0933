"""Ollama's chat API, one JSON object a line: https://github.com/ollama/ollama/blob/main/docs/api.md."""

import msgspec
from msgspec import Struct

from shared.errors import UpstreamError
from shared.events import FinishReason, Usage
from shared.llm.decoding import AnswerDecoder, count, parse
from shared.llm.wire_format import ChatRequest, Decoder, Endpoint, HttpRequest, error_for_status

_MAX_LINE_BYTES = 1024 * 1024


class Ollama:
    """The provider. The key is for Ollama's cloud; a server of one's own wants none."""

    def request(self, chat: ChatRequest, endpoint: Endpoint) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        messages = [{"role": message.role, "content": message.content} for message in chat.messages]
        if chat.system:
            messages.insert(0, {"role": "system", "content": chat.system})
        options: dict[str, float] = {"num_predict": chat.max_tokens}
        if chat.temperature is not None:
            options["temperature"] = chat.temperature
        body = {"model": chat.model, "messages": messages, "stream": True, "options": options}
        return HttpRequest(f"{endpoint.base_url}/api/chat", headers, msgspec.json.encode(body))

    def decoder(self) -> Decoder:
        return _OllamaDecoder()

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


class _OllamaDecoder(AnswerDecoder):
    def __init__(self) -> None:
        super().__init__()
        self._unfinished = bytearray()

    def _read(self, data: bytes) -> None:
        *lines, unfinished = data.split(b"\n")
        for line in lines:
            self._take(bytes(self._unfinished) + line)
            self._unfinished.clear()
            if self._ended:
                return
        self._unfinished += unfinished
        if len(self._unfinished) > _MAX_LINE_BYTES:
            self._fail_invalid()

    def _stream_over(self) -> None:
        # The last line may lack its end; what is no JSON was cut.
        if line := parse(_LINE, bytes(self._unfinished)):
            self._take_line(line)
        if not self._ended:
            self._fail_truncated()

    def _take(self, data: bytes) -> None:
        if len(data) > _MAX_LINE_BYTES:
            self._fail_invalid()
        elif line := parse(_LINE, data):
            self._take_line(line)
        elif data.strip():
            self._fail_invalid()

    def _take_line(self, line: _Line) -> None:
        if line.error:
            self._fail(UpstreamError("the model provider sent an error"))
            return
        if line.message:
            if line.message.thinking:
                self._thinking(line.message.thinking)
            if line.message.content:
                self._text(line.message.content)
        # Some of its engines give the reason and forget to say done.
        if line.done or line.done_reason:
            self._take_end(line)

    def _take_end(self, line: _Line) -> None:
        counts = line.prompt_eval_count, line.eval_count
        if counts != (None, None):
            # A missing count means unknown: a prompt that was cached whole, for one, is not counted.
            self._events.append(Usage(count(counts[0]), count(counts[1]), estimated=None in counts))
        if line.done_reason in {"load", "unload"}:
            # It has moved the model in or out of memory, and that was all.
            self._fail(UpstreamError("the model provider loaded the model and did not answer"))
        else:
            reason: FinishReason = "length" if line.done_reason == "length" else "stop"
            self._finish(reason)
