"""The model client: the start of an answer, with its retries and fallbacks.

It gives what arrives, as events, one list for each read. How long to wait between them, and what to
do with them, is the turn's business.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx
import msgspec
from msgspec import Struct

from shared import costs, errors
from shared.errors import ChatError, Unavailable, UpstreamError
from shared.events import Failed, Usage
from shared.llm import providers
from shared.llm.circuit_breaker import CircuitBreaker
from shared.llm.http_client import HttpClient
from shared.llm.model_answer import CONTENT_OR_END, ModelAnswer
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import ChatRequest
from shared.logs import logger
from shared.metrics import measured
from shared.settings import Settings
from shared.warmup import WarmUp

_BACKOFF_SECONDS = 0.15
_NEVER = float("inf")
_ERROR_BODY_BYTES = 65_536

_SILENT = "the model provider did not answer in time"

# httpx's errors in ours, before an answer began; the first that fits.
_NO_ANSWER: tuple[tuple[type[httpx.HTTPError], type[UpstreamError], str], ...] = (
    (httpx.TimeoutException, errors.UpstreamTimeout, _SILENT),
    (httpx.NetworkError, errors.UpstreamUnreachable, "the model provider cannot be reached"),
    (httpx.RemoteProtocolError, errors.UpstreamUnreachable, "the model provider hung up without an answer"),
    (httpx.HTTPError, UpstreamError, "the request to the model provider failed"),
)


class FailedAttempt(Struct, frozen=True):
    """What an attempt cost that gave no answer, as far as the provider said."""

    target: ModelTarget
    usage: Usage


class ModelClient:
    """Asks models. One for the life of a process; `aclose` ends its connections."""

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
        self._connections = HttpClient(settings, now=now, scripted=scripted)

    async def _start_old(
        self,
        chat: ChatRequest,
        models: Sequence[str],
        deadline: float,
        spent: list[FailedAttempt] | None = None,
    ) -> ModelAnswer:
        """Begins an answer by the first of `models` (`provider/model`) that takes the request.

        `deadline`, in the loop's time, is for all of them together; each gets an equal share of what
        is left when its turn comes. `chat.model` and what a model cannot take are set for each. What
        attempts cost that came to nothing is added to `spent`. Raises the UpstreamError of the last, or
        Unavailable if its key cannot be read.
        """
        spent = [] if spent is None else spent
        error: ChatError = UpstreamError("no model is configured")
        names = self._circuits.choose(models)
        for position, name in enumerate(names):
            left = len(names) - position
            now = asyncio.get_running_loop().time()
            target = providers.find(name, self._settings)
            if not self._circuits.admits(name) and left > 1:
                continue
            attempt = _Attempt(target, _fit(chat, target), now + (deadline - now) / left, last=left == 1)
            try:
                answer = await self._ask(attempt, spent)
            except (UpstreamError, Unavailable) as refusal:
                logger.warning(
                    "model gave no answer",
                    **measured(
                        provider=target.provider_name,
                        model=target.model,
                        code=refusal.code,
                        upstream_errors=1 if isinstance(refusal, UpstreamError) else None,
                    ),
                )
                error = refusal
                if refusal.retryable or isinstance(refusal, errors.UpstreamAuth):
                    self._circuits.failed(name)
            else:
                self._circuits.succeeded(name)
                return answer
        raise error

    async def start(self, chat: ChatRequest, models: Sequence[str], deadline: float) -> ModelAnswer:
        attempts: list[FailedAttempt] = []
        try:
            answer = await self._start_old(chat, models, deadline, attempts)
        except ChatError as error:
            raise NoAnswer(error, tuple(attempts)) from error
        answer.failed_attempts = tuple(attempts)
        return answer

    def warm_up(self) -> WarmUp:
        """Begins what the first turn will need to ask the first model."""
        return self._connections.warm_up(providers.find(self._settings.model, self._settings))

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def _ask(self, attempt: "_Attempt", spent: list[FailedAttempt]) -> ModelAnswer:
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                return await self._begin(attempt, spent)
            except _Refused as refused:
                pause = max(refused.wait, _BACKOFF_SECONDS * 2**tries * random.uniform(0.75, 1.25))  # noqa: S311
                if loop.time() + pause >= attempt.deadline:
                    raise refused.error from None
            tries += 1
            await self._sleep(pause)

    async def _begin(self, attempt: "_Attempt", spent: list[FailedAttempt]) -> ModelAnswer:
        try:
            async with asyncio.timeout_at(attempt.deadline):
                answer = await self._send(attempt.target, attempt.chat)
        except TimeoutError:
            raise errors.UpstreamTimeout(_SILENT) from None
        events = await answer.begins(attempt.deadline)
        if events is None and not attempt.last:
            await answer.aclose()
            # It took the prompt, and will charge for it.
            spent.append(
                FailedAttempt(attempt.target, Usage(attempt.chat.estimated_tokens(), 0, estimated=True))
            )
            raise errors.UpstreamTimeout(_SILENT)
        failed = next((event for event in events or () if isinstance(event, CONTENT_OR_END)), None)
        if not isinstance(failed, Failed):
            return answer
        await answer.aclose()
        spent += [FailedAttempt(attempt.target, event) for event in events or () if isinstance(event, Usage)][
            -1:
        ]
        raise _Refused(_error_of(failed), 0 if failed.retryable else _NEVER)

    async def _send(self, target: ModelTarget, chat: ChatRequest) -> ModelAnswer:
        if target.secret is None:
            return await self._post(target, chat, None)
        key = await target.secret.value()
        try:
            return await self._post(target, chat, key)
        except _Refused as refused:
            if not isinstance(refused.error, errors.UpstreamAuth):
                raise
            other = await target.secret.instead_of(key)
            if other is None:
                raise
        logger.warning("model provider refused a key, another is tried", provider=target.provider_name)
        return await self._post(target, chat, other)

    async def _post(self, target: ModelTarget, chat: ChatRequest, key: str | None) -> ModelAnswer:
        request = target.provider.request(chat, msgspec.structs.replace(target.endpoint, api_key=key))
        try:
            response = await self._connections.post(request)
            if response.status_code == 200:
                return ModelAnswer(target, response, target.provider.decoder())
            try:
                body = await _beginning(response)
            finally:
                await response.aclose()
        except OSError as error:
            raise _Refused(errors.UpstreamUnreachable("the model provider cannot be reached"), 0) from error
        except httpx.HTTPError as error:
            kind, sentence = next((k, s) for lower, k, s in _NO_ANSWER if isinstance(error, lower))
            raise _Refused(kind(sentence), 0) from error
        refusal = target.provider.error(response.status_code, body)
        raise _Refused(refusal, _wait_before_retry(refusal, response, target))


class _Attempt(Struct, frozen=True):
    """One model's chance: until when, and whether it is the last one that could answer at all."""

    target: ModelTarget
    chat: ChatRequest
    deadline: float
    last: bool


class _Refused(Exception):
    """An attempt that failed: its error, and the least seconds to wait before another."""

    def __init__(self, error: UpstreamError, wait: float) -> None:
        super().__init__()
        self.error = error
        self.wait = wait


def _fit(chat: ChatRequest, target: ModelTarget) -> ChatRequest:
    """The request as this model can take it."""
    known = costs.lookup(target.provider_name, target.model)
    return msgspec.structs.replace(
        chat,
        model=target.model,
        max_tokens=min(chat.max_tokens, known.max_output) if known else chat.max_tokens,
        temperature=None if known and not known.sampling else chat.temperature,
    )


def _wait_before_retry(refusal: UpstreamError, response: httpx.Response, target: ModelTarget) -> float:
    told = response.headers.get("x-should-retry")
    if told == "false" or (told != "true" and not refusal.retryable):
        return _NEVER
    retry_after = response.headers.get("retry-after", "")
    if retry_after and not retry_after.replace(".", "", 1).isdecimal():
        return _NEVER  # a date: seconds away at the least, and so too late
    if not retry_after:
        # Anthropic's 429 without it is a spending cap, and no wait of ours will lift that.
        capped = target.provider_name == "anthropic" and response.status_code == 429
        return _NEVER if capped else 0
    return float(retry_after)


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for data in response.aiter_raw():
        body += data
        if len(body) >= _ERROR_BODY_BYTES:
            break
    return body[:_ERROR_BODY_BYTES]


def _error_of(failed: Failed) -> UpstreamError:
    kind = errors.by_code(failed.code)
    return kind(failed.message) if issubclass(kind, UpstreamError) else UpstreamError(failed.message)


class NoAnswer(Exception):
    """No model answered."""

    def __init__(self, error: ChatError, failed_attempts: tuple[FailedAttempt, ...]) -> None:
        super().__init__()
        self.error = error
        self.failed_attempts = failed_attempts
