"""A client's address as something to count by: never stored as it is."""

import hmac
import ipaddress


def pseudonym(host: str, secret: str) -> str:
    """The same 64 hex digits for the same client, of no use to whoever lacks the secret.

    `host` is the client as the front door saw it, never what a header claims. Of an IPv6 address the
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
