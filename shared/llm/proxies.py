"""The HTTP proxies that requests to providers go through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""

from msgspec import Struct


class Proxies(Struct, frozen=True, kw_only=True):
    """`https` and `http`: the URL of the proxy for https and http URLs; None: no proxy. `exceptions`: hosts
    that are reached without a proxy, in lower case, in the forms of NO_PROXY: a host (its subdomains too), a
    host with a port, an IP address, a network such as `10.0.0.0/8`, or `*`."""

    https: str | None = None
    http: str | None = None
    exceptions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.https is not None or self.http is not None

    def proxy_for(self, scheme: str, host: str, port: int) -> str | None:
        """The URL of the proxy for an origin, or None."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or any(_matches(each, host.lower(), port) for each in self.exceptions):
            return None
        return proxy


def _matches(exception: str, host: str, port: int) -> bool:
    name, colon, port_text = exception.rpartition(":")
    if colon and port_text.isdecimal() and (":" not in name or name.endswith("]")):
        return int(port_text) == port and _matches(name, host, port)
    name = exception.strip("[]").removeprefix("*.").removeprefix(".")
    if exception == "*" or host == name or host.endswith(f".{name}"):
        return True
    return "/" in exception and _is_in_network(host, exception)


def _is_in_network(host: str, network: str) -> bool:
    from ipaddress import ip_address, ip_network  # noqa: PLC0415 (only NO_PROXY with networks needs it)

    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
