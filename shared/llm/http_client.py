"""HTTP requests to the providers, over one transport for each process."""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial

import httpx

from shared.llm.compression import decompressed
from shared.llm.providers import PROVIDERS, ModelTarget
from shared.llm.scripted import ScriptedTransport
from shared.llm.streaming_transport import StreamingTransport
from shared.llm.wire_format import HttpRequest
from shared.settings import Settings
from shared.warmup import WarmUp

# A connection that was idle for longer is not used again: the process may have been frozen, and network
# devices drop silent connections without telling either end.
_KEEP_ALIVE_SECONDS = 55.0
# No compression is asked for: it would hold back tokens. Some gateways compress nevertheless.
_HEADERS = {"user-agent": "serverless-chat", "accept": "*/*", "accept-encoding": "identity"}
_SCRIPTED_URL = PROVIDERS["scripted"].base_url


class HttpClient:
    """Sends requests without timeouts; the caller sets them. `scripted` is the transport of the scripted
    provider. The other transport is made for the first request, or by `warm_up`. Where a proxy is set,
    httpx's own transport sends the request.

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
        self._proxies = settings.provider_proxies
        self._proxy_transports: dict[str, httpx.AsyncHTTPTransport] = {}
        self._warm_up: WarmUp | None = None

    def warm_up(self, target: ModelTarget) -> WarmUp:
        """Starts to connect to a model's provider and to read its API key. The first request waits for
        both."""
        self._warm_up = WarmUp("model provider", partial(self._prepare, target), now=self._now)
        return self._warm_up

    async def post(self, request: HttpRequest) -> httpx.Response:
        """Sends a request and returns when the response's headers have arrived. Its stream is decompressed.
        Raises httpx's errors, and OSError for faults inside TLS, which httpx does not convert."""
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
        if proxy := self._proxy_for(url):
            return await self._proxy_transport(proxy).handle_async_request(outgoing)
        if self._transport is None:
            self._transport = self._new_transport(_tls_context(self._settings))
        return decompressed(await self._transport.handle_async_request(outgoing))

    async def aclose(self) -> None:
        if self._warm_up is not None:
            await self._warm_up.close()
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None
        for transport in self._proxy_transports.values():
            await transport.aclose()
        self._proxy_transports.clear()

    async def _prepare(self, target: ModelTarget) -> None:
        if target.base_url == _SCRIPTED_URL:
            return
        key = target.secret.value() if target.secret else asyncio.sleep(0)
        await asyncio.gather(key, self._connect(target.base_url))

    async def _connect(self, url: str) -> None:
        if proxy := self._proxy_for(_parse_url(url)):
            await asyncio.to_thread(self._proxy_transport, proxy)
            return
        # In a thread: loading certificates releases the interpreter's lock, so other warm-ups continue.
        transport = self._new_transport(await asyncio.to_thread(_tls_context, self._settings))
        if self._transport is None:
            self._transport = transport
            await transport.warm_up(_parse_url(url))

    def _proxy_for(self, url: httpx.URL) -> str | None:
        if not self._proxies:
            return None
        port = url.port or (443 if url.scheme == "https" else 80)
        return self._proxies.proxy_for(url.scheme, url.host, port)

    def _proxy_transport(self, proxy: str) -> httpx.AsyncHTTPTransport:
        """Keeps no connection for the next request: httpx measures idle time by a clock that stops while
        Lambda freezes the process."""
        if proxy not in self._proxy_transports:
            tls = _tls_context(self._settings)
            self._proxy_transports[proxy] = httpx.AsyncHTTPTransport(
                verify=tls,
                proxy=httpx.Proxy(proxy, ssl_context=tls if proxy.startswith("https:") else None),
                limits=httpx.Limits(max_keepalive_connections=0),
                trust_env=False,
            )
        return self._proxy_transports[proxy]

    def _new_transport(self, tls: ssl.SSLContext) -> StreamingTransport:
        return StreamingTransport(tls, keep_alive=_KEEP_ALIVE_SECONDS, now=self._now)


@lru_cache(maxsize=64)
def _parse_url(url: str) -> httpx.URL:
    """Cached, because parsing a URL takes longer than sending the request."""
    return httpx.URL(url)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Certificates are loaded only for https URLs: it takes longer than the rest of the client's setup.
    urls = [provider.base_url for provider in settings.providers.values()]
    urls.append(settings.provider_proxies.https or "")
    urls.append(settings.provider_proxies.http or "")
    if any(url.startswith("https:") for url in urls):
        import certifi  # noqa: PLC0415

        context.load_verify_locations(settings.ca_file or certifi.where())
    return context
