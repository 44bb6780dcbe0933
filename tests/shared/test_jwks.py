import asyncio
import contextlib
import gzip
from collections.abc import Coroutine
from typing import Any

import jwt
import pytest

from shared.auth import TokenVerifier
from shared.errors import Unauthorized, Unavailable
from shared.jwks import JwksCache
from tests.shared.identity_provider import (
    Clock,
    JwksServer,
    SigningKey,
    ec_key,
    ed_key,
    key_set,
    rsa_key,
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def verifier(url: str, clock: Clock | None = None) -> TokenVerifier:
    """Only the cache uses `clock`, so tokens stay valid when it is moved."""
    cache = JwksCache(url, ttl=600, now=clock or Clock())
    return TokenVerifier(secret=None, jwks=cache, issuer=None, audience=None, now=Clock())


async def refused(attempt: Coroutine[Any, Any, Any]) -> bool:
    try:
        await attempt
    except Unauthorized:
        return True
    return False


def unknown(number: int = 0) -> str:
    """A well-formed token with the id of a key that is not published."""
    return ec_key().bearer({"alg": "ES256", "kid": f"unknown-{number}"})


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()], ids=lambda key: key.algorithm)
def test_a_token_is_verified_with_the_key_of_its_key_id(key):
    async def run() -> None:
        async with JwksServer(key_set(rsa_key("other"), rsa_key(), ec_key(), ed_key())) as server:
            identity = await verifier(server.url).verify(key.bearer())
            assert identity.subject == "auth0|alice"
            assert server.requests[0].startswith(b"GET /.well-known/jwks.json HTTP/1.1\r\n")

    asyncio.run(run())


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()], ids=lambda key: key.algorithm)
def test_a_token_without_a_key_id_is_verified_if_one_key_fits(key):
    without_kid = key.bearer({"alg": key.algorithm})

    async def run() -> None:
        async with JwksServer(key_set(rsa_key(), ec_key(), ed_key())) as server:
            assert await verifier(server.url).verify(without_kid)
        twin = SigningKey("twin", key.algorithm, key.private)
        async with JwksServer(key_set(rsa_key(), ec_key(), ed_key(), twin)) as server:
            assert await refused(verifier(server.url).verify(without_kid))

    asyncio.run(run())


def with_members(key: SigningKey, **members: Any) -> dict[str, Any]:
    return {**key.jwk, **members}


def private_members(key: SigningKey) -> dict[str, Any]:
    return jwt.get_algorithm_by_name(key.algorithm).to_jwk(key.private, as_dict=True) | {
        "key_ops": ["verify"]
    }


@pytest.mark.parametrize(
    ("key", "published"),
    [
        (rsa_key(), with_members(rsa_key(), use="enc")),
        (rsa_key(), with_members(rsa_key(), key_ops=["encrypt"])),
        (rsa_key(), with_members(rsa_key(), alg="PS256")),
        (rsa_key(), with_members(rsa_key(), alg="HS256")),
        (rsa_key(), with_members(rsa_key(), alg="none")),
        (rsa_key(), with_members(rsa_key(), kid=1)),
        (rsa_key(), with_members(rsa_key(), n=None)),
        (rsa_key(), with_members(rsa_key(), e="AQ")),
        (rsa_key("weak", 1024), rsa_key("weak", 1024).jwk),
        (ec_key(), with_members(ec_key(), crv="P-384")),
        (ec_key(), with_members(ec_key(), crv=[])),
        (ec_key(), with_members(ec_key(), x="AA")),
        (ec_key(), with_members(ec_key(), **private_members(ec_key()))),
        (ed_key(), with_members(ed_key(), crv="Ed448")),
        (ed_key(), with_members(ed_key(), kty="oct")),
    ],
)
def test_a_key_that_must_not_verify_signatures_is_ignored(key, published):
    async def run() -> None:
        neighbours = [rsa_key("next"), ec_key("next"), ed_key("next")]
        async with JwksServer(key_set("not even an object", published, *neighbours)) as server:  # type: ignore[arg-type]
            token_verifier = verifier(server.url)
            assert await refused(token_verifier.verify(key.bearer()))
            assert await token_verifier.verify(rsa_key("next").bearer())

    asyncio.run(run())


@pytest.mark.parametrize(
    "members", [{"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "RS256"}, {"x5t": "AA"}]
)
def test_a_key_for_signatures_is_used(members):
    async def run() -> None:
        async with JwksServer(key_set(with_members(rsa_key(), **members))) as server:
            assert await verifier(server.url).verify(rsa_key().bearer())

    asyncio.run(run())


def test_a_symmetric_key_in_a_key_set_is_ignored():
    async def run() -> None:
        oct_key = {
            "kty": "oct",
            "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
            "kid": "oct",
            "alg": "HS256",
        }
        async with JwksServer(key_set(oct_key)) as server:
            cache = JwksCache(server.url)
            assert await cache.key("oct", "HS256") is None
            assert await cache.key(None, "HS256") is None

    asyncio.run(run())


def test_keys_are_fetched_again_after_their_ttl():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            for _ in range(3):
                await token_verifier.verify(rsa_key().bearer())
            clock.now += 599
            await token_verifier.verify(rsa_key().bearer())
            assert len(server.requests) == 1
            clock.now += 1
            await token_verifier.verify(rsa_key().bearer())
            assert len(server.requests) == 2

    asyncio.run(run())


def test_a_withdrawn_key_is_refused_after_the_ttl():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key().bearer())
            server.body = key_set()
            clock.now += 600
            assert await refused(token_verifier.verify(rsa_key().bearer()))

    asyncio.run(run())


def test_a_new_key_is_fetched_when_a_token_names_it():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key("old"))) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key("old").bearer())
            server.body = key_set(rsa_key("old"), rsa_key("new"))
            assert await refused(token_verifier.verify(rsa_key("new").bearer()))  # within the fetch interval
            clock.now += 30
            assert await token_verifier.verify(rsa_key("new").bearer())
            assert len(server.requests) == 2

    asyncio.run(run())


def test_callers_with_a_new_key_share_one_fetch():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key("old"))) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key("old").bearer())
            server.body = key_set(rsa_key("new"))
            clock.now += 30
            await asyncio.gather(*(token_verifier.verify(rsa_key("new").bearer()) for _ in range(50)))
            assert len(server.requests) == 2

    asyncio.run(run())


def test_many_unknown_keys_cause_one_fetch_in_each_interval():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key().bearer())
            for fetches in (1, 2, 3):
                for _ in range(2):
                    storm = await asyncio.gather(
                        *(refused(token_verifier.verify(unknown(n))) for n in range(200))
                    )
                    assert all(storm)
                    assert len(server.requests) == fetches
                clock.now += 30

    asyncio.run(run())


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "PS256", "ES512"])
def test_an_algorithm_that_key_sets_do_not_support_causes_no_fetch(algorithm):
    async def run() -> None:
        async with JwksServer(key_set(rsa_key())) as server:
            assert await refused(verifier(server.url).verify(rsa_key().bearer({"alg": algorithm})))
            assert server.requests == []

    asyncio.run(run())


def test_two_hundred_first_callers_share_one_fetch():
    async def run() -> None:
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url)
            await asyncio.gather(*(token_verifier.verify(rsa_key().bearer()) for _ in range(200)))
            assert len(server.requests) == 1

    asyncio.run(run())


def test_the_last_keys_stay_in_use_while_the_host_is_down():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key().bearer())
        for _ in range(3):
            clock.now += 86_400
            assert await token_verifier.verify(rsa_key().bearer())
            assert await refused(token_verifier.verify(unknown()))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("500 Internal Server Error", b"{}"),
        ("404 Not Found", key_set()),
        ("302 Found", key_set()),
        ("200 OK", b"<html>maintenance</html>"),
        ("200 OK", b'{"error":"maintenance"}'),
        ("200 OK", b'{"keys":{}}'),
        ("200 OK", b"[" * 5000),
        ("200 OK", b"\xff"),
        ("200 OK", b""),
    ],
)
def test_a_response_that_is_not_a_key_set_changes_nothing(status, body):
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key().bearer())
            server.status, server.body = status, body
            clock.now += 600
            assert await token_verifier.verify(rsa_key().bearer())
            assert len(server.requests) == 2
            assert await token_verifier.verify(rsa_key().bearer())
            assert len(server.requests) == 2  # no second fetch in the interval
            with pytest.raises(Unavailable):
                await verifier(server.url).verify(rsa_key().bearer())

    asyncio.run(run())


def test_a_host_that_was_never_reached_is_unavailable_and_not_unauthorized():
    async def run() -> None:
        async with JwksServer(key_set(rsa_key())) as server:
            url = server.url
        token_verifier = verifier(url)
        with pytest.raises(Unavailable) as unavailable:
            await token_verifier.verify(rsa_key().bearer())
        assert unavailable.value.status == 503
        with pytest.raises(Unavailable):
            await token_verifier.verify(unknown())

    asyncio.run(run())


def test_the_next_caller_retries_at_once_after_a_failed_first_fetch():
    async def run() -> None:
        async with JwksServer(key_set(rsa_key()), status="503 Service Unavailable") as server:
            token_verifier = verifier(server.url)
            with pytest.raises(Unavailable):
                await token_verifier.verify(rsa_key().bearer())
            server.status = "200 OK"
            assert await token_verifier.verify(rsa_key().bearer())

    asyncio.run(run())


def test_a_redirect_is_not_followed():
    async def run() -> None:
        async with JwksServer(key_set(rsa_key())) as target:
            elsewhere = JwksServer(key_set(), "302 Found", f"Location: {target.url}\r\n")
            async with elsewhere as server:
                with pytest.raises(Unavailable):
                    await verifier(server.url).verify(rsa_key().bearer())
            assert target.requests == []

    asyncio.run(run())


def test_a_key_set_may_have_at_most_256_kibibytes():
    async def run() -> None:
        largest = key_set(rsa_key()).ljust(256 * 1024)
        async with JwksServer(largest) as server:
            assert await verifier(server.url).verify(rsa_key().bearer())
            server.body = largest + b" "
            with pytest.raises(Unavailable):
                await verifier(server.url).verify(rsa_key().bearer())

    asyncio.run(run())


def test_a_compressed_key_set_is_not_decompressed():
    async def run() -> None:
        async with JwksServer(
            gzip.compress(key_set(rsa_key())), headers="Content-Encoding: gzip\r\n"
        ) as server:
            with pytest.raises(Unavailable):
                await verifier(server.url).verify(rsa_key().bearer())
            assert b"accept-encoding: identity" in server.requests[0].lower()

    asyncio.run(run())


def test_a_fetch_from_a_slow_host_times_out():
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def run() -> None:
        async with JwksServer() as server:
            server.answer = drip
            async with asyncio.timeout(20):
                with pytest.raises(Unavailable):
                    await verifier(server.url).verify(rsa_key().bearer())

    asyncio.run(run())


class GatedFetch:
    """A fetch that ends when the test sets `gate`, so that callers can be cancelled while they wait."""

    def __init__(self) -> None:
        self.count = 0
        self.started = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, url: str) -> bytes:
        self.count += 1
        self.started.set()
        await self.gate.wait()
        return key_set(rsa_key())


def test_a_cancelled_caller_does_not_cancel_the_fetch_of_the_others():
    async def run() -> None:
        fetch = GatedFetch()
        cache = JwksCache("https://id.example/jwks", fetch=fetch)
        first, second = (asyncio.create_task(cache.key("rsa", "RS256")) for _ in range(2))
        await fetch.started.wait()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        assert first.cancelled()
        fetch.gate.set()
        assert await second is not None
        assert fetch.count == 1

    asyncio.run(run())


def test_the_next_caller_uses_a_fetch_whose_callers_were_cancelled():
    async def run() -> None:
        fetch = GatedFetch()
        cache = JwksCache("https://id.example/jwks", fetch=fetch)
        only = asyncio.create_task(cache.key("rsa", "RS256"))
        await fetch.started.wait()
        only.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await only
        fetch.gate.set()
        assert await cache.key("rsa", "RS256") is not None
        assert fetch.count == 1

    asyncio.run(run())


def test_a_fetch_that_ended_with_its_event_loop_does_not_block_the_next():
    fetched = []

    async def fetch(_: str) -> bytes:
        fetched.append(1)
        if len(fetched) == 1:
            await asyncio.Event().wait()
        return key_set(rsa_key())

    cache = JwksCache("https://id.example/jwks", fetch=fetch)

    async def time_out() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.key("rsa", "RS256"), 0.01)

    asyncio.run(time_out())
    assert asyncio.run(cache.key("rsa", "RS256")) is not None


def test_a_clock_that_is_set_back_does_not_keep_old_keys_fresh():
    async def run() -> None:
        clock = Clock()
        async with JwksServer(key_set(rsa_key())) as server:
            token_verifier = verifier(server.url, clock)
            await token_verifier.verify(rsa_key().bearer())
            clock.now -= 3600
            await token_verifier.verify(rsa_key().bearer())
            assert len(server.requests) == 2

    asyncio.run(run())
