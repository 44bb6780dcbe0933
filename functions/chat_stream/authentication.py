"""Finds the user of a request: by its bearer token, or without a token by its network address."""

from uuid import UUID, uuid5

from msgspec import Struct
from starlette.requests import Request

from shared import logs
from shared.addresses import address_hash, client_address
from shared.auth import TokenVerifier
from shared.settings import Settings

# The UUID namespace of address users. Their id is derived from a keyed hash of the address. The address is
# not stored.
_ADDRESSES = UUID("5f2d8c1e-6a0b-4c53-9b7e-2f8e3a4d1c60")


class Caller(Struct, frozen=True):
    """The user who sends a request. `is_anonymous`: an anonymous user or an address user."""

    user_id: UUID
    is_anonymous: bool


class Authentication:
    def __init__(self, settings: Settings, verifier: TokenVerifier) -> None:
        self._settings = settings
        self._verifier = verifier

    async def user_id(self, request: Request, *, token_optional: bool = False) -> UUID:
        """The id of the user who sends the request: see `caller`."""
        return (await self.caller(request, token_optional=token_optional)).user_id

    async def caller(self, request: Request, *, token_optional: bool = False) -> Caller:
        """The user who sends the request. Adds a hash of the user's id to the log lines of this request.

        With `token_optional` and ALLOW_ANONYMOUS, a request without a token gets a user id that is derived
        from its address. Raises Unauthorized, or Unavailable if the keys or the secret cannot be read.
        """
        authorization = request.headers.get("authorization")
        address_user_id = None
        if authorization is None and token_optional and self._settings.allow_anonymous:
            address_user_id = await self._address_user_id(request)
        if address_user_id is None:
            identity = await self._verifier.verify(authorization)
            caller = Caller(identity.user_id, identity.is_anonymous)
        else:
            caller = Caller(address_user_id, is_anonymous=True)
        logs.set_user(caller.user_id)
        return caller

    async def _address_user_id(self, request: Request) -> UUID | None:
        address = client_address(request.scope, self._settings.proxies)
        if not address:
            return None
        return uuid5(_ADDRESSES, address_hash(address, await self._settings.server_secret()))
