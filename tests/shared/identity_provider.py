"""An identity provider for tests: real keys, tokens built byte by byte, and a JWKS over real HTTP."""

import asyncio
import base64
import functools
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = "correct horse battery staple, and then some"
NOW = 1_800_000_000.0

Signer = Callable[[bytes], bytes]


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


_numbers = itertools.count()


class SigningKey:
    """A private key, the JWK of its public half, and tokens signed with it."""

    def __init__(self, kid: str, algorithm: str, private: Any) -> None:
        self.algorithm = algorithm
        self.private = private
        self.kid = kid
        public = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        self.jwk: dict[str, Any] = {**public, "kid": kid}

    def sign(self, signing_input: bytes) -> bytes:
        signature: bytes = jwt.get_algorithm_by_name(self.algorithm).sign(signing_input, self.private)
        return signature

    def bearer(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        header = {"alg": self.algorithm, "kid": self.kid} if header is None else header
        # A number makes each token different, as tokens of an issuer are.
        claims = {"sub": "auth0|alice", "exp": NOW + 3600, "jti": next(_numbers), **claims}
        return "Bearer " + compact(header, claims, self.sign)


@functools.cache
def rsa_key(kid: str = "rsa", bits: int = 2048) -> SigningKey:
    return SigningKey(kid, "RS256", rsa.generate_private_key(65537, bits))


@functools.cache
def ec_key(kid: str = "ec") -> SigningKey:
    return SigningKey(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def ed_key(kid: str = "ed") -> SigningKey:
    return SigningKey(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate())


def hs256(secret: str | bytes) -> Signer:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda signing_input: hmac.digest(key, signing_input, hashlib.sha256)


def compact(header: Any, claims: Any, signer: Signer) -> str:
    """A token with any header and claims. Bytes are used unchanged."""
    segments = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signing_input = b".".join(map(base64url, segments))
    return (signing_input + b"." + base64url(signer(signing_input))).decode()


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def key_set(*keys: SigningKey | dict[str, Any]) -> bytes:
    return json.dumps({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()


class JwksServer:
    """Serves `body` with `status` and `headers`, or what `answer` writes. Keeps the heads of `requests`."""

    def __init__(self, body: bytes = b"", status: str = "200 OK", headers: str = "") -> None:
        self.body, self.status, self.headers = body, status, headers
        self.answer: Callable[[asyncio.StreamWriter], Any] = self._answer
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/.well-known/jwks.json"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client has closed the connection, as some tests do.
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n"
            f"{self.headers}\r\n"
        )
        writer.write(head.encode() + self.body)
        await writer.drain()
