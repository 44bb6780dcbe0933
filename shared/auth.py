"""Says who the caller is: verifies the bearer token of a request, and signs tokens of our own.

PyJWT parses and checks signatures; the rules about keys, headers and claims are here, because PyJWT's
own are laxer. Key sets belong to `shared.jwks`; whether a route wants a caller at all, to the routes.
"""

import asyncio
import base64
import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import Meta, Struct

from shared.errors import Unauthorized, Unavailable
from shared.ids import parse_uuid
from shared.jwks import ALGORITHMS, JwksCache
from shared.logs import logger
from shared.secret_sources import Secret, StaticSecret
from shared.settings import ConfigError
from shared.warmup import WarmUp

# Importing PyJWT imports cryptography too, wherever that is installed, also when only HS256 is used.


class Identity(Struct, frozen=True):
    """The caller. `subject` and `issuer` are the token's own words; `user_id` is ours (see `user_id_of`)."""

    user_id: uuid.UUID
    subject: str
    issuer: str | None
    is_anonymous: bool


class TokenVerifier:
    """Verifies tokens signed with our secret (HS256), with a key of the key set, or either.

    Where the secret is kept and rotated, tokens signed with the version before are good as well: they
    were given out in good faith.

    A signature is checked once a minute for each token that is in use, as that takes longer than all
    the rest; its times and who it is from and for, always.

    `issuer` and `audience` are demanded when given, and not looked at when None. `now` is in seconds
    since the epoch. Raises ConfigError when `secret` cannot serve as one.
    """

    def __init__(
        self,
        *,
        secret: Secret | None,
        jwks: JwksCache | None,
        issuer: str | None,
        audience: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._own_keys = {secret.text: _secret_key(secret.text)} if isinstance(secret, StaticSecret) else {}
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._seen: dict[str, tuple[_Claims, float]] = {}

    def warm_up(self) -> WarmUp:
        """Begins to read the secret and to fetch the key set, which the first token will wait for."""
        return WarmUp("keys of tokens", self._open, now=self._now)

    async def verify(self, authorization: str | None) -> Identity:
        """The caller named by an `Authorization` header, which may be anything that a client can send.

        Raises Unauthorized, or Unavailable when the key set or the secret has never been reached.
        """
        token = _bearer_token(authorization)
        claims, since = self._seen.get(token, (None, 0.0))
        if claims is None or not 0 <= self._now() - since < _SEEN_SECONDS:
            claims = await self._read(token)
            if len(self._seen) >= _SEEN_TOKENS:
                self._seen.clear()
            self._seen[token] = claims, self._now()
        self._check(claims)
        return Identity(
            user_id=user_id_of(claims.iss, claims.sub),
            subject=claims.sub,
            issuer=claims.iss,
            is_anonymous=claims.is_anonymous is True,
        )

    async def _read(self, token: str) -> "_Claims":
        try:
            header = _JWS.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Unauthorized("the token is malformed") from None
        _check_header(header)
        payload = await self._payload(token, header)
        if payload is None:
            raise Unauthorized("the token's signature is not valid")
        return _parse_claims(payload)

    async def _open(self) -> None:
        readings = [
            self._secret.versions() if self._secret else None,
            self._jwks.ready() if self._jwks else None,
        ]
        await asyncio.gather(*filter(None, readings))

    async def _payload(self, token: str, header: dict[str, Any]) -> bytes | None:
        """What is signed with the key that the header asks for; None if it is not. A key brings its one
        algorithm with it: the token's `alg` chooses among the keys, never how a key is used."""
        algorithm, key = header.get("alg"), None
        if algorithm == "HS256" and self._secret is not None:
            return await self._signed_by_us(token, self._secret)
        if self._jwks is not None and algorithm in ALGORITHMS:
            key = await self._jwks.key(header.get("kid"), algorithm)
        if key is None:
            raise Unauthorized("the token is not signed with a key that is accepted here")
        return _signed(token, key)

    async def _signed_by_us(self, token: str, secret: Secret) -> bytes | None:
        versions = await secret.versions()
        payload = self._signed_with(versions, token)
        if payload is None and (renewed := await secret.renewed()) != versions:
            payload = self._signed_with(renewed, token)
        return payload

    def _signed_with(self, versions: tuple[str, ...], token: str) -> bytes | None:
        if versions != tuple(self._own_keys):
            self._own_keys = _secret_keys(versions)
        found = (_signed(token, key) for key in self._own_keys.values())
        return next((payload for payload in found if payload is not None), None)

    def _check(self, claims: "_Claims") -> None:
        now = self._now()
        # No leeway: a client renews before the end, and "expired" should mean the same everywhere.
        if now >= claims.exp:
            raise Unauthorized("the token has expired")
        if max(claims.nbf or 0, claims.iat or 0) > now + _LEEWAY:
            raise Unauthorized("the token is not valid yet")
        if self._issuer is not None and claims.iss != self._issuer:
            raise Unauthorized("the token is from another issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._audience is not None and self._audience not in audiences:
            raise Unauthorized("the token is for another audience")


def sign(
    user_id: uuid.UUID,
    *,
    secret: str,
    now: float,
    lifetime: int,
    issuer: str | None = None,
    audience: str | None = None,
    is_anonymous: bool = False,
) -> str:
    """A token (HS256) for `user_id`, valid for `lifetime` seconds from `now` (seconds since the epoch).

    Raises ConfigError when `secret` cannot serve as one.
    """
    claims: dict[str, Any] = {"sub": str(user_id), "iat": int(now), "exp": int(now) + lifetime}
    if issuer is not None:
        claims["iss"] = issuer
    if audience is not None:
        claims["aud"] = audience
    if is_anonymous:
        claims["is_anonymous"] = True
    return jwt.encode(claims, _secret_key(secret))


def user_id_of(issuer: str | None, subject: str) -> uuid.UUID:
    """The subject itself where it is written as a UUID, else a UUIDv5 of issuer and subject.

    Auth0 and others have subjects such as `auth0|5f7c8ec7`, which only mean something per issuer.
    """
    if (user_id := parse_uuid(subject)) is not None:
        return user_id
    # A JSON array keeps the two apart whatever they hold, and a missing issuer from an empty one.
    return uuid.uuid5(_SUBJECTS, json.dumps([issuer, subject]))


# Never to be changed: users would lose their conversations.
_SUBJECTS = uuid.UUID("1c4d6d0e-8a5b-4f0c-9a47-0d3c1f6b2e95")

# RFC 6750, section 2.1, for tokens in the compact form of RFC 7515.
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)", re.ASCII)
_MAX_TOKEN = 8 * 1024  # characters; what servers commonly allow for a header line
_LEEWAY = 30  # seconds by which an issuer's clock may be ahead of ours
_SEEN_SECONDS = 60.0  # so long may a token outlive the key that it was signed with
_SEEN_TOKENS = 1_000
_YEAR_10000 = 253_402_300_800  # an `exp` beyond this is no date but a way to say "for ever"

# Keys that the token brings along or points to, and extensions that change what is signed (RFC 7515,
# section 4.1; RFC 7797). No honest issuer needs them here.
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
# RFC 8725, section 3.11: the same issuer also signs tokens that are no permission, `logout+jwt` say.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})

_JWS = jwt.PyJWS()
_HS256 = jwt.get_algorithm_by_name("HS256")

# Read strictly: msgspec takes neither true nor "1" for a number, and no NaN or infinity at all.
_NumericDate = (
    Annotated[int, Meta(ge=0, lt=_YEAR_10000)] | Annotated[float, Meta(ge=0, lt=float(_YEAR_10000))]
)


class _Claims(Struct, frozen=True):
    """RFC 7519, section 4.1; `is_anonymous` is the claim that Supabase uses."""

    sub: Annotated[str, Meta(min_length=1, max_length=255)]
    exp: _NumericDate
    nbf: _NumericDate | None = None
    iat: _NumericDate | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    is_anonymous: Any = None


_CLAIMS = msgspec.json.Decoder(_Claims)


def _bearer_token(authorization: str | None) -> str:
    if not authorization:
        raise Unauthorized("the token is missing")
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise Unauthorized("the Authorization header is not Bearer and one token")
    if len(match[1]) > _MAX_TOKEN:
        raise Unauthorized("the token is too long")
    return match[1]


def _check_header(header: dict[str, Any]) -> None:
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise Unauthorized("the token has a header that is not accepted here")
    if str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise Unauthorized("the token is of a type that is not accepted here")


def _parse_claims(payload: bytes) -> _Claims:
    try:
        return _CLAIMS.decode(payload)
    except (ValueError, RecursionError):
        raise Unauthorized("a claim of the token is missing or malformed") from None


def _signed(token: str, key: jwt.PyJWK) -> bytes | None:
    try:
        payload: bytes = _JWS.decode(token, key)
    except jwt.PyJWTError:
        return None
    return payload


def _secret_keys(versions: tuple[str, ...]) -> dict[str, jwt.PyJWK]:
    try:
        return {version: _secret_key(version) for version in versions}
    except ConfigError:
        logger.exception("the secret of JWT_SECRET_ARN cannot serve as one")
        raise Unavailable("the secret that verifies tokens is malformed") from None


def _secret_key(secret: str) -> jwt.PyJWK:
    material = secret.encode()
    if len(material) < 32:  # RFC 7518, section 3.2: a shorter one is guessed offline
        raise ConfigError("JWT_SECRET must be at least 32 bytes long.")
    try:
        _HS256.prepare_key(material)
    except jwt.InvalidKeyError:
        raise ConfigError("JWT_SECRET must not be a public key, a certificate or a JWK.") from None
    encoded = base64.urlsafe_b64encode(material).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded}, "HS256")
