"""Which pages may call us: the CORS headers of every answer, and the answers to preflights.

Plain ASGI and without buffering. Tokens travel in the Authorization header and never in cookies, so
credentials are allowed to nobody.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from shared.asgi import ASGIApp, Message, Receive, Scope, Send
from shared.settings import ConfigError

Header: TypeAlias = tuple[bytes, bytes]

_VARY: Header = (b"vary", b"Origin")
_EXPOSED = (
    b"X-Request-Id, X-Message-Id, X-Conversation-Id, Retry-After, RateLimit, RateLimit-Policy,"
    b" Content-Disposition"
)
_EXPOSE: Header = (b"access-control-expose-headers", _EXPOSED)
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, x-client-info, apikey, content-type, idempotency-key, last-event-id",
    ),
    # Without a number browsers ask again after 5 s. A day is the most that any of them keeps
    # (Firefox; Chromium cuts it to two hours), so that a turn rarely costs a second round trip.
    (b"access-control-max-age", b"86400"),
)


class Cors:
    """`allow_origins` as in CORS_ALLOW_ORIGINS: whole origins, or `*` alone for any page.

    Raises ConfigError for `*` among others, which would look narrower than it is.
    """

    def __init__(self, allow_origins: Sequence[str]) -> None:
        if "*" in allow_origins and len(allow_origins) > 1:
            raise ConfigError("CORS_ALLOW_ORIGINS must list origins or be *, not both.")
        self._origins = frozenset(allow_origins)
        # Answers vary by Origin even when there is none: a cache must not hand what it stored for a
        # stranger to a page that is allowed. With `*` they are the same for all.
        self._vary = [_VARY] if self._origins and "*" not in self._origins else []

    def headers(self, origin: str | None) -> list[Header]:
        """For an answer, whatever its status. `origin` is the request's Origin header."""
        allowed = self._allowed(origin)
        if allowed is None:
            return [*self._vary]
        return [*self._vary, (b"access-control-allow-origin", allowed), _EXPOSE]

    def preflight(self, origin: str) -> list[Header]:
        """For the answer to a preflight. For a page that is not allowed they allow nothing."""
        headers = self.headers(origin)
        return headers if self._allowed(origin) is None else [*headers, *_PREFLIGHT]

    def _allowed(self, origin: str | None) -> bytes | None:
        if "*" in self._origins:
            return b"*"
        if origin is None or origin not in self._origins:
            return None
        return origin.encode()


class CorsMiddleware:
    """Goes around the whole app, so that error answers are readable for the page as well."""

    def __init__(self, app: ASGIApp, cors: Cors) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = dict(scope["headers"])
        origin = request[b"origin"].decode("latin-1") if b"origin" in request else None
        is_preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in request
        if is_preflight and origin is not None:
            # 204 for strangers too: the absent headers say no, and browsers then name the origin as
            # the cause, where they would report a 403 as a failed request.
            headers = self._cors.preflight(origin)
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        extra = self._cors.headers(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _joined(message.get("headers", ()), extra)}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _joined(headers: Iterable[Header], extra: Sequence[Header]) -> list[Header]:
    """Both, with one Vary: Lambda's answers hold one value for each name."""
    headers = list(headers)
    fields = [value for name, value in headers if name.lower() == b"vary"]
    if not fields or _VARY not in extra:
        return [*headers, *extra]
    others = [header for header in (*headers, *extra) if header[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join([*fields, b"Origin"]))]
