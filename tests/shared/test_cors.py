import asyncio
import io
import json
import logging
from typing import Any

import pytest

from shared.asgi import ASGIApp, Message, Receive, Send
from shared.cors import Cors
from shared.logs import logger
from shared.settings import ConfigError
from shared.web import with_middleware

ORIGIN = "https://chat.example.com"
ALLOW = b"access-control-allow-origin"
EXPOSED = (
    b"X-Request-Id, X-Message-Id, X-Conversation-Id, X-Model, Retry-After, RateLimit, RateLimit-Policy,"
    b" Content-Disposition"
)

Sent = list[Message]


def app_with(
    status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = (), body: bytes = b"{}"
) -> ASGIApp:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def unreachable(scope: Any, receive: Receive, send: Send) -> None:
    raise AssertionError("the app was called")


def call(app: ASGIApp, method: str | None = "GET", type_: str = "http", **headers: str) -> Sent:
    """The messages of the app for a request with these headers. Underscores in names become hyphens."""
    sent: Sent = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def run() -> None:
        scope = {"type": type_, "path": "/", "headers": raw} | ({"method": method} if method else {})
        await app(scope, receive, send)

    asyncio.run(run())
    for message in sent:
        if message["type"] == "http.response.start":
            # The request id is random.
            message["headers"] = [header for header in message["headers"] if header[0] != b"x-request-id"]
    return sent


def preflight(cors: Cors, origin: str) -> Message:
    app = with_middleware(unreachable, cors)
    start, body = call(app, "OPTIONS", origin=origin, access_control_request_method="POST")
    assert body == {"type": "http.response.body", "body": b""}
    return start


def test_a_listed_origin_may_read_the_response_and_its_headers():
    assert Cors([ORIGIN]).headers(ORIGIN) == [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", b"https://chat.example.com"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def test_the_response_names_the_origin_of_the_request():
    cors = Cors([ORIGIN, "http://localhost:5173"])
    assert dict(cors.headers("http://localhost:5173"))[ALLOW] == b"http://localhost:5173"
    assert dict(cors.headers(ORIGIN))[ALLOW] == ORIGIN.encode()


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        "https://chat.example.com/",
        "https://chat.example.com:443",
        "https://chat.example.com.evil.example",
        "https://evilchat.example.com",
        "https://a.chat.example.com",
        "http://chat.example.com",
        "HTTPS://CHAT.EXAMPLE.COM",
        "https://chat.example.com\r\nset-cookie: a=b",
        "https://chat.example.com, https://evil.example",
        "chat.example.com",
        "https://chatxexample.com",
        "h",
        "é",
    ],
)
def test_an_unlisted_origin_gets_only_vary(origin):
    assert Cors([ORIGIN]).headers(origin) == [(b"vary", b"Origin")]


@pytest.mark.parametrize("origin", [None, ORIGIN, "null"])
def test_a_single_star_allows_any_origin(origin):
    assert Cors(["*"]).headers(origin) == [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def test_a_star_with_other_origins_is_a_configuration_error():
    with pytest.raises(ConfigError, match="CORS_ALLOW_ORIGINS"):
        Cors([ORIGIN, "*"])


def test_without_origins_there_are_no_headers():
    assert Cors([]).headers(ORIGIN) == []
    assert preflight(Cors([]), ORIGIN)["headers"] == []


@pytest.mark.parametrize("origins", [["*"], [ORIGIN]])
def test_credentials_are_never_allowed(origins):
    names = {name for name, _ in preflight(Cors(origins), ORIGIN)["headers"] + Cors(origins).headers(ORIGIN)}
    assert b"access-control-allow-credentials" not in names


def test_a_preflight_is_answered_without_calling_the_app():
    start = preflight(Cors([ORIGIN]), ORIGIN)
    assert start["status"] == 204
    assert dict(start["headers"]) == {
        b"vary": b"Origin",
        b"access-control-allow-origin": b"https://chat.example.com",
        b"access-control-expose-headers": EXPOSED,
        b"access-control-allow-methods": b"GET, POST, PATCH, DELETE, OPTIONS",
        b"access-control-allow-headers": (
            b"authorization, x-client-info, apikey, content-type, idempotency-key, last-event-id"
        ),
        b"access-control-max-age": b"86400",
    }


def test_a_preflight_from_an_unlisted_origin_gets_only_vary():
    assert preflight(Cors([ORIGIN]), "https://evil.example") == {
        "type": "http.response.start",
        "status": 204,
        "headers": [(b"vary", b"Origin")],
    }


@pytest.fixture
def logged():
    """The lines of the log, parsed."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logger.registered_formatter)
    log = logging.getLogger(logger.service)
    log.addHandler(handler)
    yield lambda: [json.loads(line) for line in output.getvalue().splitlines()]
    log.removeHandler(handler)


def test_a_refused_preflight_is_logged_with_the_setting_that_allows_the_page(logged):
    preflight(Cors([ORIGIN]), "http://localhost:5173")
    [line] = logged()
    assert (line["level"], line["origin"]) == ("WARNING", "http://localhost:5173")
    assert "CORS_ALLOW_ORIGINS" in line["message"]


def test_an_allowed_preflight_is_not_logged(logged):
    preflight(Cors([ORIGIN]), ORIGIN)
    preflight(Cors(["*"]), ORIGIN)
    assert logged() == []


def test_the_log_has_only_the_beginning_of_a_long_origin(logged):
    preflight(Cors([ORIGIN]), "https://" + "a" * 5000)
    assert len(logged()[0]["origin"]) == 300


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"origin": ORIGIN}),
        ("OPTIONS", {"access_control_request_method": "POST"}),
        ("POST", {"origin": ORIGIN, "access_control_request_method": "POST"}),
    ],
)
def test_a_request_that_is_not_a_preflight_reaches_the_app(method, headers):
    assert call(with_middleware(app_with(405), Cors([ORIGIN])), method, **headers)[0]["status"] == 405


@pytest.mark.parametrize("status", [200, 401, 429, 500, 503])
def test_every_response_has_the_headers_also_errors(status):
    app = with_middleware(app_with(status, ((b"content-type", b"application/json"),)), Cors([ORIGIN]))
    start, _ = call(app, origin=ORIGIN)
    assert start["status"] == status
    assert start["headers"] == [(b"content-type", b"application/json"), *Cors([ORIGIN]).headers(ORIGIN)]


def test_a_response_without_headers_gets_them():
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    assert call(with_middleware(app, Cors([ORIGIN])), origin=ORIGIN)[0]["headers"] == Cors([ORIGIN]).headers(
        ORIGIN
    )


def test_a_response_to_a_request_without_an_origin_has_vary():
    assert call(with_middleware(app_with(), Cors([ORIGIN])))[0]["headers"] == [(b"vary", b"Origin")]


@pytest.mark.parametrize("name", [b"vary", b"Vary"])
def test_the_vary_header_of_the_app_is_kept_and_extended(name):
    app = with_middleware(app_with(200, ((name, b"Accept"), (b"etag", b"x"))), Cors([ORIGIN]))
    headers = call(app, origin=ORIGIN)[0]["headers"]
    assert [value for key, value in headers if key.lower() == b"vary"] == [b"Accept, Origin"]
    assert (b"etag", b"x") in headers
    assert dict(headers)[ALLOW] == ORIGIN.encode()


def test_the_messages_of_the_app_are_not_changed_in_place():
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"etag", b"x")]}

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(start)

    call(with_middleware(app, Cors([ORIGIN])), origin=ORIGIN)
    assert start["headers"] == [(b"etag", b"x")]


def test_each_piece_of_a_stream_is_forwarded_before_the_next():
    async def run() -> None:
        forwarded: asyncio.Queue[Message] = asyncio.Queue()
        resume = asyncio.Event()

        async def app(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await resume.wait()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "headers": [(b"origin", ORIGIN.encode())]}
        request = asyncio.ensure_future(with_middleware(app, Cors([ORIGIN]))(scope, receive, forwarded.put))
        assert (await forwarded.get())["type"] == "http.response.start"
        assert (await forwarded.get())["body"] == b"data: 1\n\n"
        resume.set()
        assert await forwarded.get() == {"type": "http.response.body", "body": b"", "more_body": False}
        await request

    asyncio.run(run())


@pytest.mark.parametrize("type_", ["lifespan", "websocket"])
def test_scopes_other_than_http_are_not_changed(type_):
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": f"{scope['type']}.seen"})

    assert call(with_middleware(app, Cors([ORIGIN])), None, type_, origin=ORIGIN) == [
        {"type": f"{type_}.seen"}
    ]
