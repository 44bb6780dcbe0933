"""The model client: asks models, with retries and fallbacks, and returns the answer of the first that starts
one."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import httpx
from msgspec import Struct, structs

from shared import costs, errors
from shared.errors import ChatError, Unavailable, UpstreamError
from shared.events import Event, Failed, Usage
from shared.llm import shortening
from shared.llm.anthropic_format import AnthropicFormat
from shared.llm.circuit_breaker import CircuitBreaker
from shared.llm.http_client import HttpClient
from shared.llm.model_answer import CONTENT_OR_END, FailedAttempt, ModelAnswer
from shared.llm.ollama_format import OllamaFormat
from shared.llm.openai_format import OpenAIFormat
from shared.llm.providers import ModelTarget, WireFormatName, find_target
from shared.llm.wire_format import ChatRequest, WireFormat, without_system_role
from shared.logs import logger
from shared.metrics import with_metrics
from shared.settings import Settings
from shared.warmup import WarmUp

_WIRE_FORMATS: Mapping[WireFormatName, WireFormat] = {
    "anthropic": AnthropicFormat(),
    "ollama": OllamaFormat(),
    "openai": OpenAIFormat(),
}

_BACKOFF_SECONDS = 0.15
# The requests to one model that may cost something: an answer with status 200 and one more.
_MAX_PAID_ATTEMPTS = 2
_NEVER = float("inf")
_MAX_ERROR_BODY_BYTES = 65_536

_TIMED_OUT = "the model provider did not answer in time"
_UNREACHABLE = "the model provider cannot be reached"
# The errors of httpx before an answer starts, and our error for each. The first match is used.
_HTTP_ERRORS: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (httpx.ProxyError, errors.UpstreamUnreachable, "the proxy did not reach the model provider"),
    (httpx.TimeoutException, errors.UpstreamTimeout, _TIMED_OUT),
    (httpx.NetworkError, errors.UpstreamUnreachable, _UNREACHABLE),
    (
        httpx.RemoteProtocolError,
        errors.UpstreamUnreachable,
        "the model provider closed the connection without an answer",
    ),
    (httpx.HTTPError, UpstreamError, "the request to the model provider failed"),
    # httpx does not convert faults inside TLS.
    (OSError, errors.UpstreamUnreachable, _UNREACHABLE),
)


ReserveAttempt: TypeAlias = Callable[[FailedAttempt], Awaitable[bool]]


class NoAnswer(Exception):
    """No model has answered. `error` is the last model's: an UpstreamError, Unavailable if an API key cannot
    be read, or a ChatError for a fault of our own. `failed_attempts` has the usage of all attempts."""

    def __init__(self, error: ChatError, failed_attempts: tuple[FailedAttempt, ...]) -> None:
        super().__init__(error.message)
        self.error = error
        self.failed_attempts = failed_attempts


class ModelClient:
    """Asks models. A process has one instance; `aclose` closes its connections. `now` is wall-clock time.
    `scripted` is the transport of the scripted provider."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        scripted: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._circuits = CircuitBreaker(now)
        self._http = HttpClient(settings, now=now, scripted=scripted)
        # The models whose chat template has no system role, as their servers said.
        self._without_system_role: set[str] = set()

    async def start(
        self,
        chat_request: ChatRequest,
        models: Sequence[str],
        deadline: float,
        *,
        reserve: ReserveAttempt | None = None,
        is_choice: bool = False,
    ) -> ModelAnswer:
        """Asks `models` in order and returns the answer of the first one that accepts the request.

        `deadline`, in the loop's time, holds for all models together. Each model gets an equal share of the
        remaining time. `reserve` is called before each attempt after one that costs something; if it returns
        False, no model is asked again. `is_choice`: the client chose the first model. Then the others are
        asked only if it has an outage, and not if it refuses the request. No other model is asked a question
        that a content filter refused. Raises NoAnswer.
        """
        attempts = _FailedAttempts(reserve)
        error: ChatError | None = None
        names = self._circuits.available(models)
        for position, name in enumerate(names):
            models_left = len(names) - position
            if not self._circuits.allow_request(name) and models_left > 1:
                continue
            if not await attempts.allow_another():
                break
            now = asyncio.get_running_loop().time()
            time_limit = now + (deadline - now) / models_left
            result = await self._ask(name, chat_request, time_limit, attempts, is_last=models_left == 1)
            if isinstance(result, ModelAnswer):
                self._circuits.record_success(name)
                result.failed_attempts = tuple(attempts.failed)
                return result
            self._record_failure(name, result)
            error = result
            is_final = is_choice and name == models[0] and not _is_outage(error)
            if is_final or isinstance(error, errors.ContentFiltered):
                break
        raise NoAnswer(error or UpstreamError("no model is configured"), tuple(attempts.failed))

    def warm_up(self) -> WarmUp:
        """Starts to connect to the provider of the default model, for the first turn."""
        return self._http.warm_up(find_target(self._settings.model, self._settings.providers))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _ask(
        self,
        name: str,
        chat_request: ChatRequest,
        deadline: float,
        attempts: "_FailedAttempts",
        *,
        is_last: bool,
    ) -> ModelAnswer | ChatError:
        """Asks one model. Retries while the error allows it and there is time. Returns its answer or its last
        error. Adds the usage of failed attempts to `attempts`."""
        try:
            target = find_target(name, self._settings.providers)
            call = _ModelCall(target, self._adapt(chat_request, target), deadline, is_last)
            changed: set[type[ChatError]] = set()
            backoff, paid_attempts = _BACKOFF_SECONDS, 0
            while True:
                try:
                    return await self._attempt(call)
                except _AttemptFailed as failure:
                    if failure.usage is not None:
                        attempts.failed.append(FailedAttempt(target, failure.usage))
                        paid_attempts += 1
                        if paid_attempts == _MAX_PAID_ATTEMPTS:
                            return failure.error
                    # A request is changed once for each reason, and sent again at once.
                    adapted = None if type(failure.error) in changed else self._change(call, failure.error)
                    if adapted is not None and await attempts.allow_another():
                        changed.add(type(failure.error))
                        call = structs.replace(call, chat_request=adapted)
                        continue
                    pause = max(failure.wait, backoff * random.uniform(0.75, 1.25))  # noqa: S311
                    if asyncio.get_running_loop().time() + pause >= deadline:
                        return failure.error
                    if not await attempts.allow_another():
                        return failure.error
                backoff *= 2
                await self._sleep(pause)
        except (UpstreamError, Unavailable) as error:
            return error
        except Exception:
            logger.exception("request to the model failed unexpectedly", **with_metrics(faults=1))
            return ChatError("the request to the model failed")

    def _adapt(self, chat_request: ChatRequest, target: ModelTarget) -> ChatRequest:
        """The request as this model and its provider accept it."""
        adapted = _within_limits(chat_request, target)
        if target.num_ctx is not None and not shortening.fits(adapted, target.num_ctx):
            # Ollama cuts the beginning of the prompt without an error.
            error = errors.ContextLengthExceeded("", limit=target.num_ctx)
            adapted = shortening.shorten(adapted, error, None) or adapted
        if target.name in self._without_system_role or not target.has_system_role:
            adapted = without_system_role(adapted)
        return adapted

    def _change(self, call: "_ModelCall", error: UpstreamError) -> ChatRequest | None:
        """The request as the provider may accept it after this refusal, or None."""
        chat_request = call.chat_request
        if isinstance(error, errors.SystemRoleRefused) and chat_request.system:
            self._without_system_role.add(call.target.name)
            return without_system_role(chat_request)
        if isinstance(error, errors.ContextLengthExceeded):
            known = costs.lookup(call.target.provider.name, call.target.model)
            return shortening.shorten(chat_request, error, known.context if known else None)
        return None

    async def _attempt(self, call: "_ModelCall") -> ModelAnswer:
        """Sends one request and waits for the first content. Raises _AttemptFailed."""
        asked_at = asyncio.get_running_loop().time()
        deadline = min(call.deadline, asked_at + self._settings.first_token_timeout)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._send(call.target, call.chat_request)
        except TimeoutError:
            raise _AttemptFailed(errors.UpstreamTimeout(_TIMED_OUT)) from None
        answer.chat_request, answer.asked_at = call.chat_request, asked_at
        try:
            events = await answer.first_events(deadline)
        except asyncio.CancelledError:
            await answer.aclose()
            raise
        if events is None and not call.is_last:
            await answer.aclose()
            usage = _usage_of_failure([], call.chat_request)
            raise _AttemptFailed(errors.UpstreamTimeout(_TIMED_OUT), usage=usage)
        first = next((event for event in events or () if isinstance(event, CONTENT_OR_END)), None)
        if not isinstance(first, Failed):
            return answer
        await answer.aclose()
        raise _AttemptFailed(
            _to_error(first),
            wait=0 if first.retryable else _NEVER,
            usage=_usage_of_failure(events or [], call.chat_request),
        )

    async def _send(self, target: ModelTarget, chat_request: ChatRequest) -> ModelAnswer:
        """Sends a request. If the provider refuses the API key and another version of the key is known,
        the request is sent once more with that version."""
        if target.secret is None:
            return await self._post(target, chat_request, None)
        key = await target.secret.value()
        try:
            return await self._post(target, chat_request, key)
        except _AttemptFailed as failure:
            if not isinstance(failure.error, errors.UpstreamAuth):
                raise
            replacement = await target.secret.replacement_for(key)
            if replacement is None:
                raise
        logger.warning(
            "model provider refused an API key; trying another version of it", provider=target.provider.name
        )
        return await self._post(target, chat_request, replacement)

    async def _post(self, target: ModelTarget, chat_request: ChatRequest, key: str | None) -> ModelAnswer:
        wire_format = _WIRE_FORMATS[target.provider.wire_format]
        try:
            response = await self._http.post(wire_format.request(chat_request, target, key))
            if response.status_code == 200:
                return ModelAnswer(target, response, wire_format.decoder(target.think_tags))
            body = await _error_body(response)
        except (httpx.HTTPError, OSError) as error:
            kind, sentence = next(
                (kind, sentence)
                for http_error, kind, sentence in _HTTP_ERRORS
                if isinstance(error, http_error)
            )
            raise _AttemptFailed(kind(sentence), wait=0) from error
        upstream_error = wire_format.error(response.status_code, body)
        wait = _wait_before_retry(upstream_error, response, target)
        raise _AttemptFailed(upstream_error, wait=wait)

    def _record_failure(self, name: str, error: ChatError) -> None:
        provider, _, model = name.partition("/")
        # A refusal that the client has caused is no failure of the provider.
        upstream_errors = (
            1 if isinstance(error, UpstreamError) and error.status == UpstreamError.status else None
        )
        logger.warning(
            "model gave no answer",
            **with_metrics(provider=provider, model=model, code=error.code, upstream_errors=upstream_errors),
        )
        if _is_outage(error):
            self._circuits.record_failure(name)
        elif isinstance(error, errors.UpstreamRejected):
            self._circuits.record_success(name)  # The provider has answered.


class _ModelCall(Struct, frozen=True):
    """The request to one model, which may take several attempts. `is_last`: no other model follows, so the
    turn keeps waiting for this one after the deadline."""

    target: ModelTarget
    chat_request: ChatRequest
    deadline: float
    is_last: bool


class _FailedAttempts:
    """The failed attempts of one turn that cost something. `reserve`: see `ModelClient.start`."""

    def __init__(self, reserve: ReserveAttempt | None) -> None:
        self.failed: list[FailedAttempt] = []
        self._reserve = reserve
        self._reserved_count = 0

    async def allow_another(self) -> bool:
        """Whether another attempt may be sent, after the cost of all failed ones is reserved."""
        while self._reserve is not None and self._reserved_count < len(self.failed):
            if not await self._reserve(self.failed[self._reserved_count]):
                return False
            self._reserved_count += 1
        return True


class _AttemptFailed(Exception):
    """An attempt failed. `wait`: the shortest time in seconds before the next attempt. `usage`: the usage of
    this attempt."""

    def __init__(self, error: UpstreamError, *, wait: float = _NEVER, usage: Usage | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait
        self.usage = usage


def _is_outage(error: ChatError) -> bool:
    """Whether the same request may succeed later, or at another provider."""
    return error.retryable or isinstance(error, errors.UpstreamUnpaid)


def _within_limits(chat_request: ChatRequest, target: ModelTarget) -> ChatRequest:
    """The request with the sampling parameters and the token limit that the model accepts."""
    known = costs.lookup(target.provider.name, target.model)
    max_tokens, temperature = chat_request.max_tokens, chat_request.temperature
    if temperature is not None:
        temperature = min(temperature, target.provider.max_temperature)
    if known is not None:
        max_tokens = min(max_tokens, known.max_output)
        temperature = temperature if known.sampling else None
    return structs.replace(chat_request, max_tokens=max_tokens, temperature=temperature)


def _wait_before_retry(error: UpstreamError, response: httpx.Response, target: ModelTarget) -> float:
    should_retry = response.headers.get("x-should-retry")
    if should_retry == "false" or (should_retry != "true" and not error.retryable):
        return _NEVER
    retry_after = response.headers.get("retry-after", "")
    if retry_after and not retry_after.replace(".", "", 1).isdecimal():
        return _NEVER  # Dates are not parsed: a date is at least a second away.
    if not retry_after:
        is_final = response.status_code == 429 and not target.provider.retries_429_without_retry_after
        return _NEVER if is_final else 0
    return float(retry_after)


async def _error_body(response: httpx.Response) -> bytes:
    body = b""
    try:
        async for data in response.aiter_raw():
            body += data
            if len(body) >= _MAX_ERROR_BODY_BYTES:
                break
    finally:
        await response.aclose()
    return body[:_MAX_ERROR_BODY_BYTES]


def _usage_of_failure(events: Sequence[Event], chat_request: ChatRequest) -> Usage:
    """What an answer without content costs: what the provider has reported, else the prompt. A provider that
    answers with 200 has received the prompt and charges for its tokens."""
    reported = [event for event in events if isinstance(event, Usage)]
    usage = reported[-1] if reported else Usage(0, 0, estimated=True)
    if usage.input:
        return usage
    return structs.replace(usage, input=chat_request.estimated_tokens(), estimated=True)


def _to_error(failed: Failed) -> UpstreamError:
    return errors.upstream_class_for_code(failed.code)(failed.message)
