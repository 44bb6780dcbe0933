"""Finds the network address of a client, and hashes it for rate limits and anonymous users. The address
itself is never stored."""

import hmac
import ipaddress

from shared.asgi import Scope


def client_address(scope: Scope, proxies: int) -> str | None:
    """The client's IP address. Without proxies it is the address that the endpoint (function URL or REST API)
    reports. With `proxies` own proxies in front of the endpoint, it is the entry of X-Forwarded-For that the
    first of these proxies added, counted from the right. Entries further left may be forged by the client."""
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


def address_hash(address: str, secret: str) -> str:
    """An HMAC-SHA-256 of the address, as 64 hex digits. Without the secret the address cannot be found again.

    `address` is the result of `client_address`. For IPv6 only the first 64 bits are used, because a client
    can choose the other bits freely (RFC 6177).
    """
    return hmac.digest(secret.encode(), b"client address\0" + _network(address).encode(), "sha256").hex()


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
