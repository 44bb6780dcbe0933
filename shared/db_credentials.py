"""How the database is logged in to: where it is, who we are there, and what vouches for it.

Source: "Connection URIs" and "Parameter Key Words" of libpq's documentation; the fields of a secret are
those that RDS and its rotation functions write.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from shared.errors import Unavailable
from shared.logs import logger
from shared.secret_sources import Secret

_AUTHORITIES = Path(__file__).parent / "rds_ca"
# One of RDS's own names: its region's authorities sign for a server, Amazon's public ones for a proxy.
_RDS_HOST = re.compile(r"[^.]+\.(proxy-)?[^.]+\.([a-z0-9-]+)\.rds\.amazonaws\.com", re.ASCII)
_HERE = {"", "localhost", "127.0.0.1", "::1"}


class DatabaseCredentials(Struct, frozen=True, kw_only=True):
    """libpq's parameters as far as they are known, and the secret that has the rest.

    `is_password` tells a secret that is the password alone from RDS's JSON.
    """

    parameters: Mapping[str, str]
    secret: Secret | None = None
    is_password: bool = False

    @classmethod
    def at(cls, url: str) -> "DatabaseCredentials":
        """By a connection URI that says it all."""
        return cls(parameters={"conninfo": url})

    async def key(self) -> str | None:
        """What `complete` wants: the secret's value. Raises Unavailable."""
        return None if self.secret is None else await self.secret.value()

    async def instead_of(self, key: str | None) -> str | None:
        """Another one after a login with `key` was refused, or None. Raises Unavailable."""
        return None if self.secret is None or key is None else await self.secret.instead_of(key)

    async def own_secret(self) -> str:
        """What outsiders do not know of it: a token does not last, so that only the address is left."""
        if self.secret is None or self.is_password:
            return "\n".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return await self.secret.value()

    def complete(self, key: str | None) -> dict[str, Any]:
        """All parameters. Raises Unavailable for a secret that is not what RDS writes."""
        if key is None:
            return dict(self.parameters)
        if self.is_password:
            return _verified({**self.parameters, "password": key})
        try:
            kept = _RDS_SECRET.decode(key)
        except msgspec.MsgspecError:
            logger.exception("the database's secret is no JSON object with username and password")
            raise Unavailable("the database's secret is malformed") from None
        found = {"host": kept.host, "port": str(kept.port), "dbname": kept.dbname}
        known = {name: value for name, value in found.items() if value}
        # The user too is the secret's: where two take turns, rotation changes it.
        return _verified({**known, **self.parameters, "user": kept.username, "password": kept.password})


class _RdsSecret(Struct):
    username: str
    password: str
    host: str = ""
    port: int | str = 5432
    dbname: str = ""


_RDS_SECRET = msgspec.json.Decoder(_RdsSecret)


def _verified(parameters: dict[str, str]) -> dict[str, str]:
    """With the server's certificate asked for, unless that is said already or the server is here: a
    password, and a token above all, is not for whoever happens to answer."""
    host = parameters.get("host", "")
    if "sslmode" in parameters or host in _HERE or host.startswith("/"):
        return parameters
    return {"sslmode": "verify-full", "sslrootcert": _authorities(host), **parameters}


def _authorities(host: str) -> str:
    match = _RDS_HOST.fullmatch(host)
    if match is None:
        import certifi  # noqa: PLC0415

        return certifi.where()
    # One region's: libpq reads the file for each connection, and all regions together take it 40 ms.
    name = "proxy" if match[1] else match[2]
    file = _AUTHORITIES / f"{name}.pem"
    if not file.exists():
        logger.error("no authorities of this region are known: set DATABASE_CA_FILE", region=name)
    return str(file)
