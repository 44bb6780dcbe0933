"""The format of OpenAI's Chat Completions API, and of the servers that are compatible with it:
https://platform.openai.com/docs/api-reference/chat-streaming."""

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
    error_for_status,
    refusal_in,
)


class OpenAIFormat:
    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest:
        headers = {"content-type": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        messages = [
            {"role": message.role, "content": message.content}
            for message in alternating(chat_request.messages)
        ]
        if chat_request.system:
            messages.insert(0, {"role": "system", "content": chat_request.system})
        body: dict[str, object] = {
            "model": target.model,
            "messages": messages,
            target.variant.max_tokens_field: chat_request.max_tokens,
            "stream": True,
        }
        if target.variant.stream_options:
            body["stream_options"] = {"include_usage": True}
        if chat_request.temperature is not None:
            body["temperature"] = chat_request.temperature
        return HttpRequest(f"{target.base_url}/chat/completions", headers, msgspec.json.encode(body))

    def decoder(self) -> Decoder:
        return OpenAIDecoder()

    def error(self, status: int, body: bytes) -> UpstreamError:
        return error_for_response(status, body)


class _PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class _UsageFields(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    # Compatible servers use one of these two names for reasoning. Some send both, with the same text.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Error(Struct):
    code: int | str | None = None
    type: str | None = None
    message: str | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _UsageFields | None = None
    error: _Error | str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIDecoder(SSEAnswerDecoder[_Chunk]):
    """The usage comes after `finish_reason`, so `[DONE]` finishes the answer. Some servers send no `[DONE]`;
    then the end of the stream finishes the answer. `[DONE]` without a `finish_reason` is an error, because
    gateways send it after a failure too."""

    def __init__(self) -> None:
        super().__init__(_CHUNK, end_mark=b"[DONE]")
        self._reason: FinishReason | None = None

    def _decode_event(self, event: _Chunk) -> None:
        if event.error:
            self._fail(_to_error(event.error))
            return
        if event.choices:
            self._decode_choice(event.choices[0])
        if event.usage and not self._ended:
            self._decode_usage(event.usage)

    def _decode_choice(self, choice: _Choice) -> None:
        if delta := choice.delta:
            if thinking := delta.reasoning_content or delta.reasoning:
                self._add_reasoning(thinking)
            # The model sends a refusal in place of an answer. The user gets it as the answer.
            if text := delta.content or delta.refusal:
                self._add_text(text)
        if choice.finish_reason == "error":
            self._fail(_to_error(""))
        elif choice.finish_reason:
            self._reason = _REASONS.get(choice.finish_reason, "stop")

    def _decode_usage(self, usage: _UsageFields) -> None:
        """Some servers send the usage with every chunk. Then the usage is cumulative, and only the last one
        is final."""
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

    def _decode_end(self) -> None:
        if self._reason:
            self._finish(self._reason)
        else:
            self._fail_truncated()


def _to_error(error: _Error | str) -> UpstreamError:
    """OpenAI names its errors in `code` or `type`. Other servers send the HTTP status as `code`, or only a
    sentence."""
    if isinstance(error, str):
        return refusal_in(error) or UpstreamError(_SENT_AN_ERROR)
    code = str(error.code or "")
    status = int(code) if code.isdecimal() else None
    if status is not None:
        kind: type[UpstreamError] | None = type(error_for_status(status))
    else:
        kind = _ERRORS.get(code) or _ERRORS.get(error.type or "")
    refusal = None
    # OpenRouter sends 403 for flagged messages.
    if kind is None or issubclass(kind, errors.UpstreamRejected) or status == 403:
        refusal = refusal_in(code, error.type, error.message, status=status or 400)
    return refusal or (kind or UpstreamError)(_SENT_AN_ERROR)


_SENT_AN_ERROR = "the model provider sent an error"
# Other reasons count as `stop`. Tool calls are among them: requests offer no tools.
_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "model_length": "length",
    "content_filter": "content_filter",
}
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "authentication_error": errors.UpstreamAuth,
    "invalid_api_key": errors.UpstreamAuth,
    "insufficient_quota": errors.UpstreamUnpaid,
    "invalid_request_error": errors.RequestRefused,
    "overloaded_error": errors.UpstreamOverloaded,
    "rate_limit_error": errors.UpstreamRateLimited,
    "rate_limit_exceeded": errors.UpstreamRateLimited,
    "server_error": UpstreamError,
    "timeout": errors.UpstreamTimeout,
}
