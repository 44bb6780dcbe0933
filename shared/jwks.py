"""A cache of the public keys of an identity provider, which are fetched from its JWKS URL.

`shared.auth` decides which token may use which key.
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

# One algorithm for each type of key (RFC 7518, section 3.1; RFC 8037). `oct`, a shared secret, is left out:
# anyone can sign with a secret that is published.
_ALGORITHMS_BY_KEY_TYPE = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
ALGORITHMS = tuple(_ALGORITHMS_BY_KEY_TYPE.values())

# The shortest time in seconds between two fetches, also if clients send many unknown key ids.
_FETCH_INTERVAL = 30.0
# Seconds for DNS, connection and body together. Short, because a request waits for it.
_FETCH_TIMEOUT = 2.0
_MAX_BODY = 256 * 1024  # bytes


class JwksCache:
    """The keys by id. They are fetched at the first use, after `ttl` seconds, and when a key id is unknown.

    While the host is down the last keys stay in use, however old they are. `fetch` returns the body at the
    URL or raises any exception. `now` is wall-clock time in seconds, because a monotonic clock may stand
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
        """The key of this algorithm with this id; without an id the only key of this algorithm.

        None: the key set has no such key. Keys that were published less than 30 s ago may be missing. Raises
        Unavailable if the keys could never be fetched.
        """
        if self._keys is None or not self._is_within(self._fetched_at, self._ttl):
            await self._refresh()
        found = self._find(kid, algorithm)
        if found is None:
            await self._refresh()
            found = self._find(kid, algorithm)
        return found

    async def prefetch(self) -> None:
        """Fetches the keys if there are none yet. Errors are only logged."""
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
        """Fetches the keys. Callers that wait at the same time share one fetch. If keys are known already, at
        most one fetch is made in 30 s."""
        if self._refreshing is None or self._refreshing.done():
            if self._keys is not None and self._is_within(self._tried_at, _FETCH_INTERVAL):
                return
            self._tried_at = self._now()
            self._refreshing = asyncio.create_task(self._fetch_keys())
        # Shielded: a cancelled caller must not cancel the fetch of the others.
        await asyncio.shield(self._refreshing)

    async def _fetch_keys(self) -> None:
        try:
            self._keys = _verification_keys(await self._fetch(self._url))
        except Exception:
            # After any error the old keys stay in use; otherwise all requests would be refused.
            logger.warning("the key set could not be fetched", exc_info=True)
        else:
            self._fetched_at = self._now()

    def _is_within(self, since: float, seconds: float) -> bool:
        # If the wall clock is set back, `since` is in the future. Then the keys count as old.
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
    """None for keys that cannot or must not be used. RFC 7517, section 5, asks to ignore such members."""
    try:
        jwk = msgspec.convert(member, _Jwk)
        algorithm = _ALGORITHMS_BY_KEY_TYPE.get((jwk.kty, jwk.crv))
        if algorithm is None or jwk.alg not in (None, algorithm):
            return None
        # Anyone can sign with a key that is published with its private part (d).
        if jwk.use != "sig" or "verify" not in jwk.key_ops or jwk.d is not None:
            return None
        key = jwt.PyJWK(member, algorithm)
    except (msgspec.ValidationError, jwt.PyJWTError):
        return None
    if jwk.kty == "RSA" and key.key.key_size < 2048:  # RFC 7518, section 3.3
        return None
    return key


async def _fetch(url: str) -> bytes:
    import httpx  # noqa: PLC0415 (the import takes 57 ms and is needed only for key sets)

    async with (
        asyncio.timeout(_FETCH_TIMEOUT),
        httpx.AsyncClient(timeout=_FETCH_TIMEOUT, follow_redirects=False) as client,
        # Without compression, so that the limit holds for the bytes that arrive.
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MAX_BODY:
                raise ValueError("the key set is too large")
        return bytes(body)
