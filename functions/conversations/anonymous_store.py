"""The SQL of anonymous users: the rate limit of sign-ins, and the transfer of their conversations."""

from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from shared import rate_limits
from shared.db import Database, json_argument
from shared.errors import Conflict
from shared.rate_limits import RateLimitState
from shared.settings import RateLimit


class _ClaimReply(Struct):
    outcome: Literal["claimed", "rate_limited", "conflict"]
    rate: RateLimitState
    claimed: int = 0


class AnonymousStore:
    def __init__(self, database: Database, write_limit: RateLimit) -> None:
        self._database = database
        self._write_limit = write_limit

    async def count_sign_in(self, address: str) -> RateLimitState:
        """Counts a sign-in. `address` is a hash of the client's address. Raises RateLimited."""
        rate = msgspec.convert(
            await self._database.call(
                "select $functions.consume_rate_limit(%s)",
                (rate_limits.request("sign_in", self._write_limit, address_hash=address),),
            ),
            RateLimitState,
        )
        if not rate.allowed:
            raise rate_limits.rate_limited_error("sign_in", rate)
        return rate

    async def claim(self, user_id: UUID, anonymous_id: UUID) -> tuple[int, RateLimitState]:
        """Moves the conversations and the usage of the anonymous user in one transaction.

        Returns the number of conversations, which is 0 for a second call. Raises RateLimited, or Conflict
        while a turn of the anonymous user runs.
        """
        request = {
            "user_id": user_id,
            "anonymous_id": anonymous_id,
            "rate_limit": self._write_limit.requests,
            "rate_window": self._write_limit.seconds,
        }
        reply = msgspec.convert(
            await self._database.call("select $functions.claim_conversations(%s)", (json_argument(request),)),
            _ClaimReply,
        )
        if reply.outcome == "rate_limited":
            raise rate_limits.rate_limited_error("write", reply.rate)
        if reply.outcome == "conflict":
            raise Conflict("an answer is being written in one of the conversations")
        return reply.claimed, reply.rate
