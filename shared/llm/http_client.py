"""HTTP to the providers: one transport for the life of a process, made when it is first needed or ahead
of that."""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial

import httpx

from shared.llm.providers import ModelTarget
from shared.llm.scripted import SCRIPTED_URL, ScriptedTransport
from shared.llm.streaming_transport import StreamingTransport
from shared.llm.wire_format import HttpRequest
from shared.settings import Settings
from shared.warmup import WarmUp

# Idle for longer than this, a connection is given up: the process may have been frozen, and what lies
# between forgets silent connections without telling.
_TRUSTED_IDLE_SECONDS = 55.0
_HEADERS = {"user-agent": "serverless-chat", "accept": "*/*", "accept-encoding": "identity"}


class HttpClient:
    """All timeouts are the caller's. `scripted` is asked for whatever has no provider.

    Requests go to httpx's transports directly: what its client does above them, for redirects, cookies
    and logins, no provider's interface has, and it takes longer than sending the request.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        scripted: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._scripted = scripted or ScriptedTransport()
        self._http: StreamingTransport | None = None
        self._ahead: WarmUp | None = None

    def warm_up(self, target: ModelTarget) -> WarmUp:
        """Begins a connection to a model's provider, and the reading of its key, for the first request,
        which will wait for both."""
        self._ahead = WarmUp("model provider", partial(self._open, target), now=self._now)
        return self._ahead

    async def post(self, request: HttpRequest) -> httpx.Response:
        """Sends it, and returns when the head of the answer is there. Raises httpx's errors, and OSError
        for what breaks inside TLS, which httpx lets through as it is."""
        if self._ahead is not None:
            await self._ahead.wait()
            self._ahead = None
        if self._http is None:
            self._http = self._transport(_tls(self._settings))
        headers = {**_HEADERS, **request.headers}
        url = _url(request.url)
        if url.userinfo:
            login = f"{url.username}:{url.password}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(login).decode()}"
        ours = httpx.Request("POST", url, headers=headers, content=request.body)
        transport = self._scripted if request.url.startswith(SCRIPTED_URL) else self._http
        return await transport.handle_async_request(ours)

    async def aclose(self) -> None:
        if self._ahead is not None:
            await self._ahead.close()
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _open(self, target: ModelTarget) -> None:
        if target.provider_name == "scripted":
            return
        key = target.secret.value() if target.secret else asyncio.sleep(0)
        await asyncio.gather(key, self._connect(target))

    async def _connect(self, target: ModelTarget) -> None:
        # Certificates are read without the interpreter's lock: the loop has other things to open.
        transport = self._transport(await asyncio.to_thread(_tls, self._settings))
        if self._http is None:
            self._http = transport
            await transport.warm_up(_url(target.endpoint.base_url))

    def _transport(self, tls: ssl.SSLContext) -> StreamingTransport:
        return StreamingTransport(tls, keep_alive=_TRUSTED_IDLE_SECONDS, now=self._now)


@lru_cache(maxsize=64)
def _url(url: str) -> httpx.URL:
    """Taking a URL apart takes longer than sending the request."""
    return httpx.URL(url)


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Loading the certificates takes longer than all the rest of a client, so only where one is met.
    if any(provider.base_url.startswith("https:") for provider in settings.providers.values()):
        import certifi  # noqa: PLC0415

        context.load_verify_locations(settings.ca_file or certifi.where())
    return context
