"""How a client hears of its rate limit: the headers of an answer, and the refusal. Pure.

Source of the header syntax: draft-ietf-httpapi-ratelimit-headers (structured fields).
"""

from typing import Literal

from msgspec import Struct

from shared.errors import RateLimited

Scope = Literal["chat", "write", "sign_in"]


class Rate(Struct, frozen=True):
    """What `app.take_rate_limit` says: `remaining` of `limit` in any `window` seconds, and in how many
    seconds (`reset`) there is more room."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    window: int


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
