"""A client's address as something to count by: never stored as it is."""

import hmac
import ipaddress

from shared.asgi import Scope


def client_address(scope: Scope, proxies: int) -> str | None:
    """The client as the front door saw it or, where so many `proxies` of one's own are before the front
    door, as the first of these did: of X-Forwarded-For, whatever a client wrote itself comes earlier."""
    seen: list[str] = [
        address.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for address in value.decode("latin-1").split(",")
    ]
    if 0 < proxies < len(seen):
        return seen[-1 - proxies]
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else None


def pseudonym(host: str, secret: str) -> str:
    """The same 64 hex digits for the same client, of no use to whoever lacks the secret.

    `host` is the client's address, from `client_address`. Of an IPv6 address the
    first 64 bits count: the rest is the client's to choose (RFC 6177), and so to change at each request.
    """
    return hmac.digest(secret.encode(), b"client address\0" + _network(host).encode(), "sha256").hex()


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
