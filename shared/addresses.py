"""Finds the network address of a client, and hashes it for rate limits and address users. The address itself
is never stored."""

import hmac
import ipaddress

from shared.asgi import Scope


def client_address(scope: Scope, proxies: int) -> str | None:
    """The client's IP address.

    `proxies` is the number of the operator's own proxies in front of the endpoint (function URL or REST API).
    With 0 the address is the one that the endpoint reports. Otherwise it is the entry of X-Forwarded-For that
    the first of these proxies added, counted from the right. The client may forge entries further left.
    """
    forwarded_for: list[str] = [
        address.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for address in value.decode("latin-1").split(",")
    ]
    if 0 < proxies < len(forwarded_for):
        return forwarded_for[-1 - proxies]
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
