"""Cross-origin requests (CORS): the allowed origins, and the headers that tell browsers.

Tokens are sent in the Authorization header and never in cookies, so no response allows credentials.
"""

from collections.abc import Sequence
from typing import TypeAlias

from shared.logs import logger
from shared.settings import ConfigError

Header: TypeAlias = tuple[bytes, bytes]

_VARY: Header = (b"vary", b"Origin")
_EXPOSED = (
    b"X-Request-Id, X-Message-Id, X-Conversation-Id, X-Model, Retry-After, RateLimit, RateLimit-Policy,"
    b" Content-Disposition"
)
_EXPOSE: Header = (b"access-control-expose-headers", _EXPOSED)
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, x-client-info, apikey, content-type, idempotency-key, last-event-id",
    ),
    # Without this header browsers send a preflight again after 5 s. One day is the longest that any browser
    # accepts (Firefox; Chromium: two hours), so that a turn rarely costs a second round trip.
    (b"access-control-max-age", b"86400"),
)


# A DNS name has at most 253 characters. An origin is longer by its scheme and its port.
_LONGEST_LOGGED_ORIGIN = 300


class Cors:
    """`allow_origins` is the setting CORS_ALLOW_ORIGINS: a list of origins, or only `*` for all origins.

    Raises ConfigError for a list that has `*` and other origins, because it would allow all origins.
    """

    def __init__(self, allow_origins: Sequence[str]) -> None:
        if "*" in allow_origins and len(allow_origins) > 1:
            raise ConfigError("CORS_ALLOW_ORIGINS must list origins or be *, not both.")
        self._any_origin = "*" in allow_origins
        self._origins = frozenset(allow_origins)
        # All responses have `Vary: Origin`, also if the request has no Origin. Otherwise a cache could send a
        # response without CORS headers to an allowed origin. With `*` all responses are equal.
        self._vary = [_VARY] if self._origins and not self._any_origin else []

    def headers(self, origin: str | None) -> list[Header]:
        """The headers of a response, whatever its status. `origin` is the request's Origin header."""
        if self._any_origin:
            return [(b"access-control-allow-origin", b"*"), _EXPOSE]
        if origin is None or origin not in self._origins:
            return [*self._vary]
        return [*self._vary, (b"access-control-allow-origin", origin.encode()), _EXPOSE]

    def preflight_headers(self, origin: str) -> list[Header]:
        """The headers of the response to a preflight. Other origins get no headers that allow anything.

        The status is 204 also for origins that are not allowed. With a 204 browsers report that the origin is
        not allowed; with a 403 they report only a failed request. The setting's name is only logged, because
        clients cannot change the setting.
        """
        headers = self.headers(origin)
        if _EXPOSE in headers:
            return [*headers, *_PREFLIGHT]
        logger.warning(
            "preflight refused: to allow this page, add its origin to CORS_ALLOW_ORIGINS",
            origin=origin[:_LONGEST_LOGGED_ORIGIN],
        )
        return headers
