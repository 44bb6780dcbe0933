"""Verifies the bearer token of a request, and signs tokens for anonymous users and tests.

PyJWT parses tokens and checks signatures. The rules about keys, headers and claims are in this module,
because PyJWT's own rules are less strict. `shared.jwks` fetches the key set. Routes decide whether a token is
required.
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
from shared.settings import ConfigError, Settings
from shared.warmup import WarmUp


class Identity(Struct, frozen=True):
    """The user of a token. `subject` and `issuer` are claims of it; `derive_user_id` makes `user_id`."""

    user_id: uuid.UUID
    subject: str
    issuer: str | None
    is_anonymous: bool


class TokenVerifier:
    """Verifies tokens that are signed with JWT_SECRET (HS256) or with a key of the key set.

    If the secret is in Secrets Manager and rotates, tokens that are signed with its previous version are
    valid too.

    The signature of a token is checked once a minute, because this check is the slowest. The times, the
    issuer and the audience are checked for each request.

    If `issuer` or `audience` is not None, tokens must have it. `now` is in seconds since the epoch. Raises
    ConfigError if `secret` cannot be used for HS256.
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
        self._secret_keys = (
            {secret.text: _secret_key(secret.text)} if isinstance(secret, StaticSecret) else {}
        )
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._now = now
        # For each token: the claims, the identity, and the time of the last signature check.
        self._verified: dict[str, tuple[_Claims, Identity, float]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "TokenVerifier":
        return cls(
            secret=settings.jwt_secret,
            jwks=JwksCache(settings.jwt_jwks_url) if settings.jwt_jwks_url else None,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    def warm_up(self) -> WarmUp:
        """Starts to read the secret and to fetch the key set. The first token waits for both."""
        return WarmUp("token keys", self._load_keys, now=self._now)

    async def verify(self, authorization: str | None) -> Identity:
        """The identity of the token in an `Authorization` header. Any header value is accepted as input.

        Raises Unauthorized, or Unavailable if the key set or the secret could never be read.
        """
        token = _bearer_token(authorization)
        verified = self._verified.get(token)
        if verified is None or not 0 <= self._now() - verified[2] < _VERIFIED_SECONDS:
            claims = await self._verified_claims(token)
            if len(self._verified) >= _MAX_VERIFIED_TOKENS:
                self._verified.clear()
            verified = self._verified[token] = claims, _to_identity(claims), self._now()
        claims, identity, _ = verified
        self._check(claims)
        return identity

    async def _verified_claims(self, token: str) -> "_Claims":
        try:
            header = _JWS.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Unauthorized("the token is malformed") from None
        _check_header(header)
        payload = await self._verified_payload(token, header)
        if payload is None:
            raise Unauthorized("the token's signature is not valid")
        return _parse_claims(payload)

    async def _load_keys(self) -> None:
        loads = [
            self._secret.current_versions() if self._secret else None,
            self._jwks.prefetch() if self._jwks else None,
        ]
        await asyncio.gather(*filter(None, loads))

    async def _verified_payload(self, token: str, header: dict[str, Any]) -> bytes | None:
        """The signed content of the token; None if the signature is not valid. Each key has one fixed
        algorithm. The token's `alg` is used only to find the key."""
        algorithm, key = header.get("alg"), None
        if algorithm == "HS256" and self._secret is not None:
            return await self._verify_with_secret(token, self._secret)
        if self._jwks is not None and algorithm in ALGORITHMS:
            key = await self._jwks.key(header.get("kid"), algorithm)
        if key is None:
            raise Unauthorized("the token is not signed with an accepted key")
        return _verify_signature(token, key)

    async def _verify_with_secret(self, token: str, secret: Secret) -> bytes | None:
        versions = await secret.current_versions()
        payload = self._verify_with_versions(versions, token)
        if payload is None and (refreshed := await secret.refresh()) != versions:
            payload = self._verify_with_versions(refreshed, token)
        return payload

    def _verify_with_versions(self, versions: tuple[str, ...], token: str) -> bytes | None:
        if versions != tuple(self._secret_keys):
            self._secret_keys = _make_keys(versions)
        found = (_verify_signature(token, key) for key in self._secret_keys.values())
        return next((payload for payload in found if payload is not None), None)

    def _check(self, claims: "_Claims") -> None:
        now = self._now()
        # No leeway: clients renew a token before its end.
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

    Raises ConfigError if `secret` cannot be used for HS256.
    """
    claims: dict[str, Any] = {"sub": str(user_id), "iat": int(now), "exp": int(now) + lifetime}
    if issuer is not None:
        claims["iss"] = issuer
    if audience is not None:
        claims["aud"] = audience
    if is_anonymous:
        claims["is_anonymous"] = True
    return jwt.encode(claims, _secret_key(secret))


def derive_user_id(issuer: str | None, subject: str) -> uuid.UUID:
    """The subject itself if it is a UUID, else a UUIDv5 of issuer and subject.

    Subjects of Auth0 and others, such as `auth0|5f7c8ec7`, are unique for one issuer only.
    """
    if (user_id := parse_uuid(subject)) is not None:
        return user_id
    # A JSON array keeps issuer and subject apart whatever they contain, and null differs from an empty
    # issuer.
    return uuid.uuid5(_SUBJECTS, json.dumps([issuer, subject]))


# This namespace must never change, or users lose their conversations.
_SUBJECTS = uuid.UUID("1c4d6d0e-8a5b-4f0c-9a47-0d3c1f6b2e95")

# RFC 6750, section 2.1, for tokens in the compact form of RFC 7515.
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)", re.ASCII)
_MAX_TOKEN = 8 * 1024  # In characters: the usual limit of servers for a header line.
_LEEWAY = 30  # The seconds that an issuer's clock may be ahead of ours.
_VERIFIED_SECONDS = 60.0  # A token may still be accepted for this time after its key was removed.
_MAX_VERIFIED_TOKENS = 1_000
_YEAR_10000 = 253_402_300_800  # Later times are not dates.

# Headers with a key or the address of a key, and extensions that change what is signed (RFC 7515, section
# 4.1; RFC 7797). Tokens for this service do not need them.
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
# RFC 8725, section 3.11: an issuer also signs tokens for other purposes, for example `logout+jwt`.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})

_JWS = jwt.PyJWS()
_HS256 = jwt.get_algorithm_by_name("HS256")

# msgspec is strict: it accepts neither `true` nor "1" as a number, and neither NaN nor infinity.
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
        raise Unauthorized("the Authorization header must be Bearer and one token")
    if len(match[1]) > _MAX_TOKEN:
        raise Unauthorized("the token is too long")
    return match[1]


def _check_header(header: dict[str, Any]) -> None:
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise Unauthorized("the token has a header parameter that is not accepted")
    if str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise Unauthorized("the token's type is not accepted")


def _to_identity(claims: _Claims) -> Identity:
    return Identity(
        user_id=derive_user_id(claims.iss, claims.sub),
        subject=claims.sub,
        issuer=claims.iss,
        is_anonymous=claims.is_anonymous is True,
    )


def _parse_claims(payload: bytes) -> _Claims:
    try:
        return _CLAIMS.decode(payload)
    except (ValueError, RecursionError):
        raise Unauthorized("a claim of the token is missing or malformed") from None


def _verify_signature(token: str, key: jwt.PyJWK) -> bytes | None:
    try:
        payload: bytes = _JWS.decode(token, key)
    except jwt.PyJWTError:
        return None
    return payload


def _make_keys(versions: tuple[str, ...]) -> dict[str, jwt.PyJWK]:
    try:
        return {version: _secret_key(version) for version in versions}
    except ConfigError:
        logger.exception("the secret of JWT_SECRET_ARN cannot be used")
        raise Unavailable("the secret that verifies tokens is malformed") from None


def _secret_key(secret: str) -> jwt.PyJWK:
    material = secret.encode()
    if len(material) < 32:  # RFC 7518, section 3.2: a shorter one can be guessed offline.
        raise ConfigError("JWT_SECRET must be at least 32 bytes long.")
    try:
        _HS256.prepare_key(material)
    except jwt.InvalidKeyError:
        raise ConfigError("JWT_SECRET must not be a public key, a certificate or a JWK.") from None
    encoded = base64.urlsafe_b64encode(material).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded}, "HS256")
