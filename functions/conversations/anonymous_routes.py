"""Anonymous users: signing one in, and handing what they have to the account they come to have."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.anonymous_store import AnonymousStore
from functions.conversations.parameters import caller
from functions.conversations.routing import resource
from functions.conversations.schemas import AnonymousUser, Claim, Claimed
from shared import addresses, auth, rate_limits, web
from shared.auth import Identity, TokenVerifier
from shared.errors import Forbidden, InvalidRequest, Unauthorized
from shared.settings import Settings

_LIFETIME_SECONDS = 30 * 24 * 3600


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

    def routes(self) -> list[Route]:
        return [
            resource("/auth/anonymous", POST=self.sign_in),
            resource("/api/chat/conversations/claim", POST=self.claim),
        ]

    async def sign_in(self, request: Request) -> Response:
        """A new user. Forbidden where that is not allowed, or there is no secret of ours to sign with."""
        if not self._settings.allow_anonymous or self._settings.jwt_secret is None:
            raise Forbidden("anonymous users are not allowed here")
        secret = await self._settings.jwt_secret.value()
        host = addresses.client_address(request.scope, self._settings.proxies) or ""
        rate = await self._store.count_sign_in(addresses.pseudonym(host, secret))
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

    async def claim(self, request: Request) -> Response:
        """The caller's own token and the anonymous one together show that both are the same person."""
        identity = await caller(request, self._verifier)
        if identity.is_anonymous:
            raise Forbidden("conversations are claimed by a user who is signed in")
        said = web.decode(await web.read_body(request), Claim)
        former = await self._anonymous(said.token)
        claimed, rate = await self._store.claim(identity.user_id, former.user_id)
        return web.json_response(Claimed(claimed), headers=rate_limits.headers("write", rate))

    async def _anonymous(self, token: str) -> Identity:
        # Not the caller's own token: a 401 would make the client sign in again, and again.
        try:
            identity = await self._verifier.verify(f"Bearer {token}")
        except Unauthorized:
            raise InvalidRequest("token must be a valid token", field="token") from None
        if not identity.is_anonymous:
            raise InvalidRequest("token must be an anonymous user's", field="token")
        return identity
