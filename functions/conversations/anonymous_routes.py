"""The endpoints of anonymous users: one creates a user, one moves its conversations to an account."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from starlette.responses import Response

from functions.conversations.anonymous_store import AnonymousStore
from functions.conversations.routing import Call, endpoint
from functions.conversations.schemas import AnonymousUser, Claim, Claimed
from shared import addresses, auth, rate_limits, web
from shared.auth import Identity, TokenVerifier
from shared.endpoints import RATE_LIMIT_HEADERS, Body, Reply
from shared.errors import Conflict, Forbidden, InvalidRequest, RateLimited, Unauthorized
from shared.settings import Settings

_TAG = "Anonymous users"
_LIFETIME_SECONDS = 30 * 24 * 3600
_CLAIM = Body(type=Claim, max_bytes=web.MAX_BODY_BYTES)


class AnonymousRoutes:
    """`now` is in seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        *,
        verifier: TokenVerifier,
        store: AnonymousStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._store = store
        self._now = now

    @endpoint(
        "POST",
        "/auth/anonymous",
        operation_id="signInAnonymously",
        tag=_TAG,
        access="public",
        replies=[
            Reply(
                description="The new user. No later response contains the token.",
                types=(AnonymousUser,),
                headers=("Cache-Control", *RATE_LIMIT_HEADERS),
            )
        ],
        errors=[Forbidden, RateLimited],
    )
    async def sign_in(self, call: Call) -> Response:
        """Create an anonymous user and return a token that is valid for 30 days.

        Returns 403 if ALLOW_ANONYMOUS is off, or if the deployment has no secret that signs tokens.
        """
        if not self._settings.allow_anonymous or self._settings.jwt_secret is None:
            raise Forbidden("anonymous users are not allowed")
        secret = await self._settings.jwt_secret.value()
        address = addresses.client_address(call.request.scope, self._settings.proxies) or ""
        rate = await self._store.count_sign_in(addresses.address_hash(address, secret))
        now = int(self._now())
        user_id = uuid4()
        token = auth.sign(
            user_id,
            secret=secret,
            now=now,
            lifetime=_LIFETIME_SECONDS,
            issuer=self._settings.jwt_issuer,
            audience=self._settings.jwt_audience,
            is_anonymous=True,
        )
        user = AnonymousUser(token, user_id, datetime.fromtimestamp(now + _LIFETIME_SECONDS, UTC))
        headers = {"Cache-Control": "no-store", **rate_limits.headers("sign_in", rate)}
        return web.json_response(user, headers=headers)

    @endpoint(
        "POST",
        "/api/chat/conversations/claim",
        operation_id="claimConversations",
        tag=_TAG,
        body=_CLAIM,
        replies=[
            Reply(
                description="The conversations now belong to the caller.",
                types=(Claimed,),
                headers=RATE_LIMIT_HEADERS,
            )
        ],
        errors=[Conflict, RateLimited],
    )
    async def claim(self, call: Call) -> Response:
        """Move an anonymous user's conversations to the caller's account.

        The caller's own token is in the Authorization header, and the anonymous user's token is in the body.
        """
        if call.identity.is_anonymous:
            raise Forbidden("an anonymous user cannot claim conversations")
        anonymous = await self._verify_anonymous(call[_CLAIM].token)
        claimed, rate = await self._store.claim(call.identity.user_id, anonymous.user_id)
        return web.json_response(Claimed(claimed), headers=rate_limits.headers("write", rate))

    async def _verify_anonymous(self, token: str) -> Identity:
        # 400, not 401: the caller's own token is valid, and clients sign in again after a 401.
        try:
            identity = await self._verifier.verify(f"Bearer {token}")
        except Unauthorized:
            raise InvalidRequest("token must be a valid token", field="token") from None
        if not identity.is_anonymous:
            raise InvalidRequest("token must be the token of an anonymous user", field="token")
        return identity
