"""Rate limits: the request to the database, the headers of a response, and the error. No I/O.

Source of the header syntax: draft-ietf-httpapi-ratelimit-headers (structured fields).
"""

from typing import Literal

import msgspec
from msgspec import Struct

from shared.environment import RateLimit
from shared.errors import RateLimited

RateLimitName = Literal["chat", "write", "sign_in"]


class RateLimitState(Struct, frozen=True):
    """The state of a rate limit after a request, as the database returns it: `remaining` of `limit` requests
    in any `window` seconds. `reset`: the seconds until `remaining` grows."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    window: int


def request(name: RateLimitName, limit: RateLimit, *, address_hash: str | None = None) -> str:
    """The argument of the stored function `consume_rate_limit`, as JSON. `address_hash` is for requests
    without a user."""
    return msgspec.json.encode(
        {"scope": name, "limit": limit.requests, "window": limit.seconds, "address": address_hash}
    ).decode()


def headers(name: RateLimitName, state: RateLimitState) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{name}";q={state.limit};w={state.window}',
        "RateLimit": f'"{name}";r={state.remaining};t={state.reset}',
    }


def rate_limited_error(name: RateLimitName, state: RateLimitState) -> RateLimited:
    return RateLimited(
        f"more than {state.limit} requests in {state.window} seconds",
        retry_after=state.reset,
        headers=headers(name, state),
    )
