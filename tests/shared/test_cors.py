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

PAGE = "https://chat.example.com"
ALLOW = b"access-control-allow-origin"
EXPOSED = (
    b"X-Request-Id, X-Message-Id, X-Conversation-Id, Retry-After, RateLimit, RateLimit-Policy,"
    b" Content-Disposition"
)

Sent = list[Message]


def answering(
    status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = (), body: bytes = b"{}"
) -> ASGIApp:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def untouched(scope: Any, receive: Receive, send: Send) -> None:
    raise AssertionError("the app was called")


def call(app: ASGIApp, method: str | None = "GET", type_: str = "http", **headers: str) -> Sent:
    """What the app sends for a request with these headers, underscores standing for hyphens."""
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
            # Its value is random; tests/shared/test_web.py looks at it.
            message["headers"] = [header for header in message["headers"] if header[0] != b"x-request-id"]
    return sent


def preflight(cors: Cors, origin: str) -> Message:
    app = with_middleware(untouched, cors)
    start, body = call(app, "OPTIONS", origin=origin, access_control_request_method="POST")
    assert body == {"type": "http.response.body", "body": b""}
    return start


def test_a_listed_page_may_read_the_answer_and_our_headers():
    assert Cors([PAGE]).headers(PAGE) == [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", b"https://chat.example.com"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def test_each_listed_page_is_answered_with_its_own_origin():
    cors = Cors([PAGE, "http://localhost:5173"])
    assert dict(cors.headers("http://localhost:5173"))[ALLOW] == b"http://localhost:5173"
    assert dict(cors.headers(PAGE))[ALLOW] == PAGE.encode()


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
def test_any_other_page_gets_no_permission_but_the_answer_still_varies(origin):
    assert Cors([PAGE]).headers(origin) == [(b"vary", b"Origin")]


@pytest.mark.parametrize("origin", [None, PAGE, "null"])
def test_a_lone_star_means_any_page(origin):
    assert Cors(["*"]).headers(origin) == [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def test_a_star_among_others_is_refused_at_the_start():
    with pytest.raises(ConfigError, match="CORS_ALLOW_ORIGINS"):
        Cors([PAGE, "*"])


def test_without_origins_nothing_is_said():
    assert Cors([]).headers(PAGE) == []
    assert preflight(Cors([]), PAGE)["headers"] == []


@pytest.mark.parametrize("origins", [["*"], [PAGE]])
def test_credentials_are_allowed_to_nobody(origins):
    names = {name for name, _ in preflight(Cors(origins), PAGE)["headers"] + Cors(origins).headers(PAGE)}
    assert b"access-control-allow-credentials" not in names


def test_a_preflight_is_answered_without_the_app():
    start = preflight(Cors([PAGE]), PAGE)
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


def test_a_preflight_from_an_unknown_page_is_allowed_nothing():
    assert preflight(Cors([PAGE]), "https://evil.example") == {
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
    preflight(Cors([PAGE]), "http://localhost:5173")
    [line] = logged()
    assert (line["level"], line["origin"]) == ("WARNING", "http://localhost:5173")
    assert "CORS_ALLOW_ORIGINS" in line["message"]


def test_an_allowed_preflight_is_not_logged(logged):
    preflight(Cors([PAGE]), PAGE)
    preflight(Cors(["*"]), PAGE)
    assert logged() == []


def test_the_log_has_only_the_beginning_of_a_long_origin(logged):
    preflight(Cors([PAGE]), "https://" + "a" * 5000)
    assert len(logged()[0]["origin"]) == 300


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"origin": PAGE}),
        ("OPTIONS", {"access_control_request_method": "POST"}),
        ("POST", {"origin": PAGE, "access_control_request_method": "POST"}),
    ],
)
def test_what_only_looks_like_a_preflight_reaches_the_app(method, headers):
    assert call(with_middleware(answering(405), Cors([PAGE])), method, **headers)[0]["status"] == 405


@pytest.mark.parametrize("status", [200, 401, 429, 500, 503])
def test_every_answer_carries_the_headers_also_an_error(status):
    app = with_middleware(answering(status, ((b"content-type", b"application/json"),)), Cors([PAGE]))
    start, _ = call(app, origin=PAGE)
    assert start["status"] == status
    assert start["headers"] == [(b"content-type", b"application/json"), *Cors([PAGE]).headers(PAGE)]


def test_an_answer_without_headers_gets_them():
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    assert call(with_middleware(app, Cors([PAGE])), origin=PAGE)[0]["headers"] == Cors([PAGE]).headers(PAGE)


def test_an_answer_to_no_page_varies_too():
    assert call(with_middleware(answering(), Cors([PAGE])))[0]["headers"] == [(b"vary", b"Origin")]


@pytest.mark.parametrize("name", [b"vary", b"Vary"])
def test_the_apps_own_vary_is_kept_in_one_header(name):
    app = with_middleware(answering(200, ((name, b"Accept"), (b"etag", b"x"))), Cors([PAGE]))
    headers = call(app, origin=PAGE)[0]["headers"]
    assert [value for key, value in headers if key.lower() == b"vary"] == [b"Accept, Origin"]
    assert (b"etag", b"x") in headers
    assert dict(headers)[ALLOW] == PAGE.encode()


def test_the_apps_messages_are_not_changed_in_place():
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"etag", b"x")]}

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(start)

    call(with_middleware(app, Cors([PAGE])), origin=PAGE)
    assert start["headers"] == [(b"etag", b"x")]


def test_each_piece_of_a_stream_is_passed_on_before_the_next_is_made():
    async def run() -> None:
        passed: asyncio.Queue[Message] = asyncio.Queue()
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "headers": [(b"origin", PAGE.encode())]}
        running = asyncio.ensure_future(with_middleware(app, Cors([PAGE]))(scope, receive, passed.put))
        assert (await passed.get())["type"] == "http.response.start"
        assert (await passed.get())["body"] == b"data: 1\n\n"
        go_on.set()
        assert await passed.get() == {"type": "http.response.body", "body": b"", "more_body": False}
        await running

    asyncio.run(run())


@pytest.mark.parametrize("type_", ["lifespan", "websocket"])
def test_what_is_not_http_passes_through(type_):
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": f"{scope['type']}.seen"})

    assert call(with_middleware(app, Cors([PAGE])), None, type_, origin=PAGE) == [{"type": f"{type_}.seen"}]
