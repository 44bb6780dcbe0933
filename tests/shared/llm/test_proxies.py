"""Which requests go through a proxy, and requests through a real one."""

import asyncio
import contextlib
import ssl

import pytest

from shared.environment import ConfigError
from shared.llm.client import ModelClient, NoAnswer
from shared.llm.proxies import Proxies
from shared.llm.wire_format import ChatMessage, ChatRequest
from shared.settings import load_settings
from tests.shared.llm.test_client import certificate

CHAT = ChatRequest(messages=(ChatMessage("user", "Hi"),))
BODY = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
)


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_used"),
    [
        ("", ("https", "api.openai.com", 443), True),
        ("*", ("https", "api.openai.com", 443), False),
        ("openai.com", ("https", "api.openai.com", 443), False),
        (".openai.com", ("https", "api.openai.com", 443), False),
        ("*.openai.com", ("https", "API.OpenAI.com", 443), False),
        ("OPENAI.com", ("https", "openai.com", 443), False),
        ("openai.com", ("https", "notopenai.com", 443), True),
        ("api.openai.com:8443", ("https", "api.openai.com", 443), True),
        ("api.openai.com:443", ("https", "api.openai.com", 443), False),
        ("localhost, 127.0.0.1", ("http", "127.0.0.1", 11434), False),
        ("localhost 127.0.0.1", ("http", "localhost", 11434), False),
        ("10.0.0.0/8", ("http", "10.1.2.3", 80), False),
        ("10.0.0.0/8", ("http", "11.1.2.3", 80), True),
        ("10.0.0.0/8", ("http", "ten.example", 80), True),
        ("::1", ("http", "::1", 80), False),
        ("[::1]:80", ("http", "::1", 80), False),
        ("[::1]:81", ("http", "::1", 80), True),
        ("fd00::/8", ("http", "fd00::7", 80), False),
        ("a:b, /, :, ,", ("http", "a", 80), True),
    ],
)
def test_hosts_of_no_proxy_are_reached_without_a_proxy(no_proxy, url, is_used):
    proxies = config(
        HTTPS_PROXY="http://proxy:1", HTTP_PROXY="http://proxy:2", NO_PROXY=no_proxy
    ).provider_proxies
    port = 1 if url[0] == "https" else 2
    assert proxies.proxy_for(*url) == (f"http://proxy:{port}" if is_used else None)


@pytest.mark.parametrize(
    ("environ", "proxies"),
    [
        ({}, Proxies()),
        ({"https_proxy": "http://p:1", "no_proxy": "a"}, Proxies(https="http://p:1", exceptions=("a",))),
        ({"HTTP_PROXY": "p:1", "http_proxy": "http://q"}, Proxies(http="http://p:1")),
    ],
)
def test_the_settings_also_have_names_in_lower_case(environ, proxies):
    settings = config(**environ)
    assert settings.provider_proxies == proxies
    assert bool(settings.provider_proxies) is bool(environ)


@pytest.mark.parametrize("url", ["socks5://proxy:1080", "ftp://proxy", "http://", "http://a b"])
def test_another_proxy_is_a_wrong_setting(url):
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY must be the http or https URL of a proxy.$"):
        config(HTTPS_PROXY=url)


def config(**environ):
    needed = {"DATABASE_URL": "unused", "JWT_SECRET": "unused", "OPENAI_API_KEY": "key"}
    return load_settings({**needed, "LLM_MODEL": "openai/x", **environ})


class Proxy:
    """A proxy that knows the provider's name, which no name server knows. `targets` are the targets of its
    requests."""

    def __init__(self, provider_port):
        self.provider_port = provider_port
        self.targets = []
        self.heads = []
        self.ended = asyncio.Event()

    async def __call__(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.targets.append((method.decode(), target.decode()))
        self.heads.append(head)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.provider_port)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream_writer.write(head)
        await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))
        self.ended.set()


async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def provide(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def ask(settings, *, warm_up=False):
    client = ModelClient(settings)
    try:
        if warm_up:
            await client.warm_up().task
        answer = await client.start(CHAT, ["openai/x"], asyncio.get_running_loop().time() + 2)
        events = [event async for batch in answer for event in batch]
        await answer.aclose()
        return events
    finally:
        await client.aclose()


def through_proxy(scheme, tls=None, **environ):
    async def main():
        provider = await asyncio.start_server(provide, "127.0.0.1", 0, ssl=tls)
        proxy = Proxy(provider.sockets[0].getsockname()[1])
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        url = f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = config(
            **{f"{scheme}_proxy": url}, OPENAI_BASE_URL=f"{scheme}://localhost.provider.invalid/v1", **environ
        )
        async with provider, server:
            try:
                return await ask(settings, warm_up=True), proxy
            finally:
                await proxy.ended.wait()

    return asyncio.run(main())


def text_of(events):
    return "".join(getattr(event, "text", "") for event in events)


def test_an_http_request_goes_through_the_proxy():
    events, proxy = through_proxy("http")
    assert text_of(events) == "Hi"
    assert proxy.targets == [("POST", "http://localhost.provider.invalid/v1/chat/completions")]
    assert b"proxy-authorization: Basic" in proxy.heads[0].replace(
        b"Proxy-Authorization", b"proxy-authorization"
    )


def test_an_https_request_goes_through_a_tunnel(tmp_path):
    tls, authority = certificate(tmp_path, "localhost.provider.invalid")
    events, proxy = through_proxy("https", tls, SSL_CERT_FILE=authority)
    assert text_of(events) == "Hi"
    assert proxy.targets == [("CONNECT", "localhost.provider.invalid:443")]
    # The proxy sees neither the path nor the key.
    assert b"key" not in b"".join(proxy.heads)


def test_a_proxy_that_refuses_is_an_unreachable_provider():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            await ask(config(HTTPS_PROXY=url, OPENAI_BASE_URL="https://provider.invalid/v1"))

    with pytest.raises(NoAnswer) as caught:
        asyncio.run(main())
    assert caught.value.error.code == "upstream_unreachable"


def test_the_certificate_of_the_provider_is_verified_in_the_tunnel(tmp_path):
    tls, _ = certificate(tmp_path, "localhost.provider.invalid")
    assert isinstance(tls, ssl.SSLContext)
    with pytest.raises(NoAnswer) as caught:
        through_proxy("https", tls)
    assert caught.value.error.code == "upstream_unreachable"
