"""The credentials of a database login: the address, the user, the password or token, and the TLS rules.

Source: "Connection URIs" and "Parameter Key Words" of libpq's documentation. The fields of a JSON secret are
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

_CA_FOLDER = Path(__file__).parent / "rds_ca"
# A host name of RDS. The certificates of database servers are signed by authorities of the region. The
# certificates of RDS Proxy are signed by Amazon's public authorities.
_RDS_HOST = re.compile(r"[^.]+\.(proxy-)?[^.]+\.([a-z0-9-]+)\.rds\.amazonaws\.com", re.ASCII)
_LOCAL_HOSTS = {"", "localhost", "127.0.0.1", "::1"}


class DatabaseCredentials(Struct, frozen=True, kw_only=True):
    """The connection parameters that are set, and the secret that contains the rest.

    The secret is RDS's JSON object, or the password alone if `is_password`.
    """

    parameters: Mapping[str, str]
    secret: Secret | None = None
    is_password: bool = False

    @classmethod
    def from_url(cls, url: str) -> "DatabaseCredentials":
        """The credentials in a complete connection URI."""
        return cls(parameters={"conninfo": url})

    async def password(self) -> str | None:
        """The secret's value, for `connect_args`: a password, or RDS's JSON with a password in it. None if
        there is no secret. Raises Unavailable."""
        return None if self.secret is None else await self.secret.value()

    async def replacement_for(self, password: str | None) -> str | None:
        """Another value after a login with `password` was refused, or None. Raises Unavailable."""
        if self.secret is None or password is None:
            return None
        return await self.secret.replacement_for(password)

    async def server_secret(self) -> str:
        """A value that clients do not know: the secret, or the parameters if there is no secret or only a
        password that changes. It changes when the secret rotates. Raises Unavailable."""
        if self.secret is None or self.is_password:
            return "\n".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return await self.secret.value()

    def connect_args(self, password: str | None) -> dict[str, Any]:
        """All parameters for a connection. `password` is the value of `password()`. Raises Unavailable for
        a secret that is not the JSON object of RDS."""
        if password is None:
            return dict(self.parameters)
        if self.is_password:
            return _with_tls({**self.parameters, "password": password})
        try:
            secret = _RDS_SECRET.decode(password)
        except msgspec.MsgspecError:
            logger.exception("the database's secret is not a JSON object with username and password")
            raise Unavailable("the database's secret is malformed") from None
        address = {"host": secret.host, "port": str(secret.port), "dbname": secret.dbname}
        address = {name: value for name, value in address.items() if value}
        # The secret's user replaces the configured one: a rotation with two users changes it.
        login = {"user": secret.username, "password": secret.password}
        return _with_tls({**address, **self.parameters, **login})


class _RdsSecret(Struct):
    username: str
    password: str
    host: str = ""
    port: int | str = 5432
    dbname: str = ""


_RDS_SECRET = msgspec.json.Decoder(_RdsSecret)


def _with_tls(parameters: dict[str, str]) -> dict[str, str]:
    """Adds the check of the server's certificate, so that a password or token is sent to the right server
    only. Nothing is added for local servers or if `sslmode` is set."""
    host = parameters.get("host", "")
    if "sslmode" in parameters or host in _LOCAL_HOSTS or host.startswith("/"):
        return parameters
    return {"sslmode": "verify-full", "sslrootcert": _ca_file(host), **parameters}


def _ca_file(host: str) -> str:
    match = _RDS_HOST.fullmatch(host)
    if match is None:
        import certifi  # noqa: PLC0415

        return certifi.where()
    # libpq reads the file for each connection. One file for all regions would take 40 ms each time.
    name = "proxy" if match[1] else match[2]
    file = _CA_FOLDER / f"{name}.pem"
    if not file.exists():
        logger.error("no certificate authorities for this region: set DATABASE_CA_FILE", region=name)
    return str(file)
