"""Rate limits: the request to the database, the headers of a response, and the refusal. Pure.

Source of the header syntax: draft-ietf-httpapi-ratelimit-headers (structured fields).
"""

from typing import Literal

import msgspec
from msgspec import Struct

from shared.environment import RateLimit
from shared.errors import RateLimited

Scope = Literal["chat", "write", "sign_in"]


class Rate(Struct, frozen=True):
    """The result of the stored function `consume_rate_limit`: `remaining` of `limit` requests in any `window`
    seconds, and the seconds until the limit has more room (`reset`)."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    window: int


def request(scope: Scope, limit: RateLimit, *, address: str | None = None) -> str:
    """The request of `consume_rate_limit` as JSON. `address` is a hash of the client's address, for a client
    without a user."""
    return msgspec.json.encode(
        {"scope": scope, "limit": limit.requests, "window": limit.seconds, "address": address}
    ).decode()


def headers(scope: Scope, rate: Rate) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{scope}";q={rate.limit};w={rate.window}',
        "RateLimit": f'"{scope}";r={rate.remaining};t={rate.reset}',
    }


def refusal(scope: Scope, rate: Rate) -> RateLimited:
    return RateLimited(
        f"more than {rate.limit} requests in {rate.window} seconds",
        retry_after=rate.reset,
        headers=headers(scope, rate),
    )
