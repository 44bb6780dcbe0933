"""The model client: connections, the start of an answer with its retries and fallbacks, and the read.

It gives what arrives, as events, one list for each read. How long to wait between them, and what to
do with them, is the turn's business.
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import msgspec

from shared import costs, errors
from shared.config import Settings
from shared.errors import UpstreamError
from shared.events import Event, Failed, Finished, TextDelta, ThinkingDelta
from shared.llm import catalogue
from shared.llm.base import ChatRequest, Decoder
from shared.llm.catalogue import Target
from shared.llm.scripted import SCRIPTED_URL, ScriptedTransport
from shared.logs import logger

# Idle for longer than this, the pooled connections are given up: the process may have been frozen,
# and what lies between forgets silent connections without telling.
_TRUSTED_IDLE_SECONDS = 55.0
_BACKOFF_SECONDS = 0.15
_NEVER = float("inf")
_ERROR_BODY_BYTES = 65_536
# What a provider may still send after its last event: the end of its chunked encoding, no more.
_DRAIN_SECONDS = 0.1

# httpx's errors in ours, before an answer began; the first that fits.
_NO_ANSWER: tuple[tuple[type[httpx.HTTPError], type[UpstreamError], str], ...] = (
    (httpx.TimeoutException, errors.UpstreamTimeout, "the model provider did not answer in time"),
    (httpx.NetworkError, errors.UpstreamUnreachable, "the model provider cannot be reached"),
    (httpx.RemoteProtocolError, errors.UpstreamUnreachable, "the model provider hung up without an answer"),
    (httpx.HTTPError, UpstreamError, "the request to the model provider failed"),
)
_CONTENT_OR_END = (TextDelta, ThinkingDelta, Finished, Failed)


class ModelAnswer:
    """An answer that has begun: iterate it for lists of events, one list a read, then close it.

    The last event is a `Finished` or a `Failed`, whatever happens to the connection. Closing before
    that closes the connection, which tells the provider to stop.
    """

    def __init__(
        self, target: Target, response: httpx.Response, decoder: Decoder, closed: Callable[[], None]
    ) -> None:
        self.target = target
        self._closed = closed
        self._response = response
        self._decoder = decoder
        self._reads = response.aiter_raw()
        self._first = asyncio.ensure_future(self._beginning())
        self._complete = False

    async def failed_at_once(self, deadline: float) -> Failed | None:
        """Waits for the first content until `deadline` (the loop's time). A provider that says 200 and
        then an error before any content can be asked again, or another in its place."""
        await asyncio.wait({self._first}, timeout=max(0, deadline - asyncio.get_running_loop().time()))
        events = self._first.result() if self._first.done() else []
        ends = [event for event in events if isinstance(event, _CONTENT_OR_END)]
        return ends[0] if ends and isinstance(ends[0], Failed) else None

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        events = await self._first
        while True:
            if events:
                self._complete = isinstance(events[-1], Finished | Failed)
                yield events
                if self._complete:
                    return
            events = await self._read()

    async def aclose(self) -> None:
        self._first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._first
        if self._complete:
            # Read to its end, the connection can serve the next turn.
            with contextlib.suppress(httpx.HTTPError, StopAsyncIteration, TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await anext(self._reads)
        await self._response.aclose()
        self._closed()

    async def _beginning(self) -> list[Event]:
        events: list[Event] = []
        while not any(isinstance(event, _CONTENT_OR_END) for event in events):
            events += await self._read()
        return events

    async def _read(self) -> list[Event]:
        try:
            data = await anext(self._reads)
        except (StopAsyncIteration, httpx.HTTPError):
            # A connection may break after the answer's end as well as before: the decoder knows.
            return self._decoder.close()
        return self._decoder.feed(data)


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
        self._now = now
        self._sleep = sleep
        self._scripted = scripted or ScriptedTransport()
        self._http: httpx.AsyncClient | None = None
        self._used_at = now()
        self._active = 0

    async def start(self, chat: ChatRequest, models: Sequence[str], deadline: float) -> ModelAnswer:
        """Begins an answer by the first of `models` (`provider/model`) that takes the request.

        `deadline`, in the loop's time, is for all of them together; each gets an equal share of what
        is left when its turn comes. `chat.model` and what a model cannot take are set for each.
        Raises the UpstreamError of the last.
        """
        last = UpstreamError("no model is configured")
        for position, name in enumerate(models):
            now = asyncio.get_running_loop().time()
            share = now + (deadline - now) / (len(models) - position)
            target = catalogue.find(name, self._settings)
            try:
                return await self._ask(target, _fit(chat, target), share)
            except UpstreamError as error:
                logger.warning("model refused or failed before its answer", model=name, code=error.code)
                last = error
        raise last

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _ask(self, target: Target, chat: ChatRequest, deadline: float) -> ModelAnswer:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            try:
                return await self._begin(target, chat, deadline)
            except _Refused as refused:
                pause = max(refused.wait, _BACKOFF_SECONDS * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311
                if loop.time() + pause >= deadline:
                    raise refused.error from None
            attempt += 1
            await self._sleep(pause)

    async def _begin(self, target: Target, chat: ChatRequest, deadline: float) -> ModelAnswer:
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._send(target, chat)
        except TimeoutError:
            raise errors.UpstreamTimeout("the model provider did not answer in time") from None
        failed = await answer.failed_at_once(deadline)
        if failed is None:
            return answer
        await answer.aclose()
        raise _Refused(_error_of(failed), 0 if failed.retryable else _NEVER)

    async def _send(self, target: Target, chat: ChatRequest) -> ModelAnswer:
        request = target.provider.request(chat, target.endpoint)
        http = await self._connections()
        try:
            response = await http.send(
                http.build_request("POST", request.url, headers=dict(request.headers), content=request.body),
                stream=True,
            )
            if response.status_code == 200:
                self._active += 1
                return ModelAnswer(target, response, target.provider.decoder(), self._done)
            try:
                body = await _beginning(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            kind, sentence = next((k, s) for lower, k, s in _NO_ANSWER if isinstance(error, lower))
            raise _Refused(kind(sentence), 0) from error
        refusal = target.provider.error(response.status_code, body)
        raise _Refused(refusal, _wait_before_retry(refusal, response, target))

    def _done(self) -> None:
        self._active -= 1
        self._used_at = self._now()

    async def _connections(self) -> httpx.AsyncClient:
        # A process is frozen only when nothing runs in it, so with an answer under way all is fresh.
        idle = 0.0 if self._active else self._now() - self._used_at
        if self._http is not None and idle > _TRUSTED_IDLE_SECONDS:
            await self._http.aclose()
            self._http = None
        self._used_at = self._now()
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=None,  # noqa: S113 (the start has its deadline, the turn has its clocks)
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
                verify=_tls(self._settings),
                trust_env=False,
                headers={"user-agent": "serverless-chat", "accept-encoding": "identity"},
                mounts={SCRIPTED_URL: self._scripted},
            )
        return self._http


class _Refused(Exception):
    """An attempt that failed: its error, and the least seconds to wait before another."""

    def __init__(self, error: UpstreamError, wait: float) -> None:
        super().__init__()
        self.error = error
        self.wait = wait


def _fit(chat: ChatRequest, target: Target) -> ChatRequest:
    """The request as this model can take it."""
    known = costs.lookup(target.provider_name, target.model)
    return msgspec.structs.replace(
        chat,
        model=target.model,
        max_tokens=min(chat.max_tokens, known.max_output) if known else chat.max_tokens,
        temperature=None if known and not known.sampling else chat.temperature,
    )


def _wait_before_retry(refusal: UpstreamError, response: httpx.Response, target: Target) -> float:
    told = response.headers.get("x-should-retry")
    if told == "false" or (told != "true" and not refusal.retryable):
        return _NEVER
    retry_after = response.headers.get("retry-after", "")
    if not retry_after.replace(".", "", 1).isdecimal():
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
    kinds: dict[str, type[UpstreamError]] = {kind.code: kind for kind in UpstreamError.__subclasses__()}
    return kinds.get(failed.code, UpstreamError)(failed.message)


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Loading the certificates takes longer than all the rest of a client, so only where one is met.
    if any(provider.base_url.startswith("https:") for provider in settings.providers.values()):
        import certifi  # noqa: PLC0415

        context.load_verify_locations(certifi.where())
    return context
