"""The public keys of an identity provider, fetched from its JWKS address and kept.

Which token may use which key, and everything else about tokens, belongs to `shared.auth`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import msgspec
from msgspec import Struct

from shared.errors import Unavailable
from shared.logs import logger

# One algorithm for each type of key (RFC 7518, section 3.1; RFC 8037). `oct` is missing on purpose: a
# published secret is none.
_ALGORITHM_OF = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
ALGORITHMS = tuple(_ALGORITHM_OF.values())

_COOL_DOWN = 30.0  # seconds between two fetches: what a stream of invented key ids can cause at most
_FETCH_TIMEOUT = 2.0  # seconds, for name, connection and body together: a caller is waiting
_MAX_BODY = 256 * 1024  # bytes


class JwksCache:
    """Keys by id, fetched when first asked for, after `ttl` seconds, and when a key id is unknown.

    While the host is down the last keys stay in use, however old. `fetch` returns the body of the URL
    or raises anything. `now` is in seconds, and is wall-clock time because a monotonic clock may stand
    still while Lambda keeps the process frozen.
    """

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], Awaitable[bytes]] | None = None,
        ttl: float = 600.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._fetch = fetch or _fetch
        self._ttl = ttl
        self._now = now
        self._keys: tuple[jwt.PyJWK, ...] | None = None
        self._fetched_at = 0.0
        self._tried_at = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The one key of this algorithm with this id, or without an id the only one of this algorithm.

        None means that no such key is published, as far as the last 30 s can tell. Raises Unavailable
        when there has never been an answer from the host.
        """
        if self._keys is None or not self._within(self._fetched_at, self._ttl):
            await self._refresh()
        found = self._find(kid, algorithm)
        if found is None:
            await self._refresh()
            found = self._find(kid, algorithm)
        return found

    async def prefetch(self) -> None:
        """Fetches the keys, unless there are any. What goes wrong is logged."""
        if self._keys is None:
            await self._refresh()

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self._keys is None:
            raise Unavailable("the keys of the identity provider cannot be fetched")
        matching = [
            key for key in self._keys if key.algorithm_name == algorithm and kid in (None, key.key_id)
        ]
        return matching[0] if len(matching) == 1 else None

    async def _refresh(self) -> None:
        """Fetch once for all who wait; with keys at hand, not before the cool-down is over."""
        if self._refreshing is None or self._refreshing.done():
            if self._keys is not None and self._within(self._tried_at, _COOL_DOWN):
                return
            self._tried_at = self._now()
            self._refreshing = asyncio.create_task(self._fetch_keys())
        # Shielded, so that a caller who hangs up does not take the others' fetch along.
        await asyncio.shield(self._refreshing)

    async def _fetch_keys(self) -> None:
        try:
            self._keys = _verification_keys(await self._fetch(self._url))
        except Exception:
            # Whatever went wrong, the keys at hand are better than turning every caller away.
            logger.warning("the key set could not be fetched", exc_info=True)
        else:
            self._fetched_at = self._now()

    def _within(self, since: float, seconds: float) -> bool:
        # The lower bound: a wall clock that is set back must not make a key set young for hours.
        return 0 <= self._now() - since < seconds


class _KeySet(Struct):
    keys: list[Any]


class _Jwk(Struct):
    """The members of RFC 7517 that decide whether a key may verify signatures."""

    kty: str
    crv: str | None = None
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    alg: str | None = None
    d: Any = None


def _verification_keys(body: bytes) -> tuple[jwt.PyJWK, ...]:
    members = msgspec.json.decode(body, type=_KeySet).keys
    return tuple(key for key in map(_verification_key, members) if key is not None)


def _verification_key(member: Any) -> jwt.PyJWK | None:
    """None for what we cannot or should not use: RFC 7517, section 5, wants such members ignored."""
    try:
        jwk = msgspec.convert(member, _Jwk)
        algorithm = _ALGORITHM_OF.get((jwk.kty, jwk.crv))
        if algorithm is None or jwk.alg not in (None, algorithm):
            return None
        # A key published with its private half (d) proves nothing any more.
        if jwk.use != "sig" or "verify" not in jwk.key_ops or jwk.d is not None:
            return None
        key = jwt.PyJWK(member, algorithm)
    except (msgspec.ValidationError, jwt.PyJWTError):
        return None
    if jwk.kty == "RSA" and key.key.key_size < 2048:  # RFC 7518, section 3.3
        return None
    return key


async def _fetch(url: str) -> bytes:
    import httpx  # noqa: PLC0415 (57 ms that only this needs, and only if there is a key set)

    async with (
        asyncio.timeout(_FETCH_TIMEOUT),
        httpx.AsyncClient(timeout=_FETCH_TIMEOUT, follow_redirects=False) as client,
        # Uncompressed and read raw, so that the limit counts what arrives and nothing can inflate.
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MAX_BODY:
                raise ValueError("the key set is too large")
        return bytes(body)
