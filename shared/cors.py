"""Cross-origin requests (CORS): which pages may call, and the headers that say so to browsers.

Tokens are sent in the Authorization header and never in cookies, so no response allows credentials.
"""

from collections.abc import Sequence
from typing import TypeAlias

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
    # Without this header browsers send a preflight again after 5 s. One day is the longest that any browser
    # accepts (Firefox; Chromium: two hours), so that a turn rarely costs a second round trip.
    (b"access-control-max-age", b"86400"),
)


class Cors:
    """`allow_origins` as in CORS_ALLOW_ORIGINS: whole origins, or `*` alone for any page.

    Raises ConfigError for `*` among others, which would look narrower than it is.
    """

    def __init__(self, allow_origins: Sequence[str]) -> None:
        if "*" in allow_origins and len(allow_origins) > 1:
            raise ConfigError("CORS_ALLOW_ORIGINS must list origins or be *, not both.")
        self._any_origin = "*" in allow_origins
        self._origins = frozenset(allow_origins)
        # Responses vary by Origin even without one in the request: a cache must not give a page that is
        # allowed what it stored for one that is not. With `*` they are the same for all.
        self._vary = [_VARY] if self._origins and not self._any_origin else []

    def headers(self, origin: str | None) -> list[Header]:
        """The headers of a response, whatever its status. `origin` is the request's Origin header."""
        if self._any_origin:
            return [(b"access-control-allow-origin", b"*"), _EXPOSE]
        if origin is None or origin not in self._origins:
            return [*self._vary]
        return [*self._vary, (b"access-control-allow-origin", origin.encode()), _EXPOSE]

    def preflight_headers(self, origin: str) -> list[Header]:
        """The headers of the response to a preflight. They allow nothing to other origins.

        The status is 204 for these too: browsers then name the origin as the cause, where they would
        report a 403 as a failed request.
        """
        headers = self.headers(origin)
        return [*headers, *_PREFLIGHT] if _EXPOSE in headers else headers
