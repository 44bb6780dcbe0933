"""OpenAI's Chat Completions API, and the many servers that speak it more or less:
https://platform.openai.com/docs/api-reference/chat-streaming."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from shared import errors
from shared.errors import UpstreamError
from shared.events import FinishReason, Usage
from shared.llm.decoding import SSEAnswerDecoder, count, parse
from shared.llm.wire_format import ChatRequest, Decoder, Endpoint, HttpRequest, error_for_status


class OpenAI:
    """The provider, in the variant that a server wants.

    OpenAI's own models take `max_completion_tokens` and refuse `max_tokens`; most other servers know
    only the latter. `stream_options` asks for the usage; some servers cannot bear to be asked.
    """

    def __init__(
        self,
        *,
        max_tokens_field: Literal["max_completion_tokens", "max_tokens"],
        stream_options: bool = True,
    ) -> None:
        self._max_tokens_field = max_tokens_field
        self._stream_options = stream_options

    def request(self, chat: ChatRequest, endpoint: Endpoint) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        messages = [{"role": message.role, "content": message.content} for message in chat.messages]
        if chat.system:
            messages.insert(0, {"role": "system", "content": chat.system})
        body: dict[str, object] = {
            "model": chat.model,
            "messages": messages,
            self._max_tokens_field: chat.max_tokens,
            "stream": True,
        }
        if self._stream_options:
            body["stream_options"] = {"include_usage": True}
        if chat.temperature is not None:
            body["temperature"] = chat.temperature
        return HttpRequest(f"{endpoint.base_url}/chat/completions", headers, msgspec.json.encode(body))

    def decoder(self) -> Decoder:
        return _OpenAIDecoder()

    def error(self, status: int, body: bytes) -> UpstreamError:
        if status == 429 and b'"insufficient_quota"' in body:
            # Not too fast, but not paid for: waiting helps nobody.
            return errors.UpstreamAuth("the model provider's account has no quota left")
        return error_for_status(status)


class _PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    # The two names that compatible servers give to thinking; some send both, with the same text.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Error(Struct):
    code: int | str | None = None
    type: str | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: _Error | str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class _OpenAIDecoder(SSEAnswerDecoder):
    """The usage comes after `finish_reason`, so the answer is finished by `[DONE]`, or, as some servers
    leave that out, by the end of the stream. A `[DONE]` without a `finish_reason` finishes nothing:
    gateways write it after a failure, too."""

    def __init__(self) -> None:
        super().__init__()
        self._reason: FinishReason | None = None

    def _take(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._stream_over()
            return
        chunk = parse(_CHUNK, data)
        if chunk is None:
            self._fail_invalid()
            return
        if chunk.error:
            self._fail(_error_of(chunk.error))
            return
        if chunk.choices:
            self._take_choice(chunk.choices[0])
        if chunk.usage and not self._ended:
            self._take_usage(chunk.usage)

    def _take_choice(self, choice: _Choice) -> None:
        if delta := choice.delta:
            if thinking := delta.reasoning_content or delta.reasoning:
                self._thinking(thinking)
            # A refusal is what the model says instead of its answer: to the user, it is the answer.
            if text := delta.content or delta.refusal:
                self._text(text)
        if choice.finish_reason == "error":
            self._fail(_error_of(""))
        elif choice.finish_reason:
            self._reason = _REASONS.get(choice.finish_reason, "stop")

    def _take_usage(self, usage: _Usage) -> None:
        """Cumulative where it comes with every chunk, and then not final before the answer is."""
        if usage.prompt_tokens is None and usage.completion_tokens is None:
            return
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        self._events.append(
            Usage(
                input=count(usage.prompt_tokens),
                output=count(usage.completion_tokens),
                cache_read=count(prompt.cached_tokens) if prompt else 0,
                cache_write=count(prompt.cache_write_tokens) if prompt else 0,
                reasoning=count(completion.reasoning_tokens) if completion else 0,
                estimated=not self._reason or usage.prompt_tokens is None or usage.completion_tokens is None,
            )
        )

    def _stream_over(self) -> None:
        if self._reason:
            self._finish(self._reason)
        else:
            self._fail_truncated()


def _error_of(error: _Error | str) -> UpstreamError:
    """OpenAI names its errors by `code` or `type`; other servers give the status as `code`."""
    kind = UpstreamError
    if isinstance(error, _Error):
        code = str(error.code or "")
        if code.isdecimal():
            kind = type(error_for_status(int(code)))
        else:
            kind = _ERRORS.get(code) or _ERRORS.get(error.type or "", UpstreamError)
    return kind("the model provider sent an error")


# Anything else, tool calls among it, is a stop: we offer no tools, and the answer is as long as it gets.
_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "model_length": "length",
    "content_filter": "content_filter",
}
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "authentication_error": errors.UpstreamAuth,
    "invalid_api_key": errors.UpstreamAuth,
    "insufficient_quota": errors.UpstreamAuth,
    "context_length_exceeded": errors.UpstreamRejected,
    "invalid_request_error": errors.UpstreamRejected,
    "model_not_found": errors.UpstreamRejected,
    "overloaded_error": errors.UpstreamOverloaded,
    "rate_limit_error": errors.UpstreamRateLimited,
    "rate_limit_exceeded": errors.UpstreamRateLimited,
    "timeout": errors.UpstreamTimeout,
}
