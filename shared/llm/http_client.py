"""HTTP requests to the providers, over one transport for each process."""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial

import httpx

from shared.llm.providers import PROVIDERS, ModelTarget
from shared.llm.scripted import ScriptedTransport
from shared.llm.streaming_transport import StreamingTransport
from shared.llm.wire_format import HttpRequest
from shared.settings import Settings
from shared.warmup import WarmUp

# A connection that was idle for longer is not used again: the process may have been frozen, and network
# devices drop silent connections without telling either end.
_KEEP_ALIVE_SECONDS = 55.0
_HEADERS = {"user-agent": "serverless-chat", "accept": "*/*", "accept-encoding": "identity"}
_SCRIPTED_URL = PROVIDERS["scripted"].base_url


class HttpClient:
    """Sends requests without timeouts; the caller sets them. `scripted` is the transport of the scripted
    provider. The other transport is made for the first request, or by `warm_up`.

    Requests go to the transports directly. httpx's own client handles redirects, cookies and authentication,
    which no provider needs, and it takes more time than the request itself.
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
        self._transport: StreamingTransport | None = None
        self._warm_up: WarmUp | None = None

    def warm_up(self, target: ModelTarget) -> WarmUp:
        """Starts to connect to a model's provider and to read its API key. The first request waits for
        both."""
        self._warm_up = WarmUp("model provider", partial(self._prepare, target), now=self._now)
        return self._warm_up

    async def post(self, request: HttpRequest) -> httpx.Response:
        """Sends a request and returns when the response's headers have arrived. Raises httpx's errors, and
        OSError for faults inside TLS, which httpx does not convert."""
        if self._warm_up is not None:
            await self._warm_up.wait()
            self._warm_up = None
        headers = {**_HEADERS, **request.headers}
        url = _parse_url(request.url)
        if url.userinfo:
            userinfo = f"{url.username}:{url.password}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(userinfo).decode()}"
        outgoing = httpx.Request("POST", url, headers=headers, content=request.body)
        if request.url.startswith(_SCRIPTED_URL):
            return await self._scripted.handle_async_request(outgoing)
        if self._transport is None:
            self._transport = self._new_transport(_tls_context(self._settings))
        return await self._transport.handle_async_request(outgoing)

    async def aclose(self) -> None:
        if self._warm_up is not None:
            await self._warm_up.close()
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def _prepare(self, target: ModelTarget) -> None:
        if target.base_url == _SCRIPTED_URL:
            return
        key = target.secret.value() if target.secret else asyncio.sleep(0)
        await asyncio.gather(key, self._connect(target.base_url))

    async def _connect(self, url: str) -> None:
        # In a thread: loading certificates releases the interpreter's lock, so other warm-ups continue.
        transport = self._new_transport(await asyncio.to_thread(_tls_context, self._settings))
        if self._transport is None:
            self._transport = transport
            await transport.warm_up(_parse_url(url))

    def _new_transport(self, tls: ssl.SSLContext) -> StreamingTransport:
        return StreamingTransport(tls, keep_alive=_KEEP_ALIVE_SECONDS, now=self._now)


@lru_cache(maxsize=64)
def _parse_url(url: str) -> httpx.URL:
    """Cached, because parsing a URL takes longer than sending the request."""
    return httpx.URL(url)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Certificates are loaded only for https URLs: it takes longer than the rest of the client's setup.
    if any(provider.base_url.startswith("https:") for provider in settings.providers.values()):
        import certifi  # noqa: PLC0415

        context.load_verify_locations(settings.ca_file or certifi.where())
    return context
