"""Imitates the IAM login of RDS: a proxy that verifies tokens, in front of a Postgres that trusts logins.

Sources: Postgres documentation, "Frontend/Backend Protocol"; AWS Signature Version 4 in query parameters.
"""

import contextlib
import hashlib
import hmac
import socket
import struct
import threading
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlsplit

from tests.aws import CREDENTIALS, REGION

_TOKEN_SECONDS = 900
_SSL_REQUEST, _GSS_REQUEST = 80_877_103, 80_877_104


class RdsWithIam:
    """`presented` lists the tokens of all logins. `refused` counts the logins with a bad token: a wrong
    signature, another user, revoked, or first seen 15 minutes ago or earlier by the clock `now`."""

    def __init__(self, socket_folder: str, now: Callable[[], float]) -> None:
        self.presented: list[str] = []
        self.refused = 0
        self.revoked: set[str] = set()
        self._now = now
        self._first_seen: dict[str, float] = {}
        self._server_path = f"{socket_folder}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "RdsWithIam":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # Unbuffered, because the bytes after the token belong to the server.
        with client, client.makefile("rb", buffering=0) as reader:
            startup = _startup(client, reader)
            client.sendall(b"R" + struct.pack("!ii", 8, 3))  # AuthenticationCleartextPassword
            kind, length = struct.unpack("!ci", reader.read(5))
            assert kind == b"p"
            token = reader.read(length - 4).rstrip(b"\0").decode()
            self.presented.append(token)
            if not self._is_accepted(token):
                self.refused += 1
                client.sendall(_error("28000", 'PAM authentication failed for user "chat_app"'))
                return
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(self._server_path)
                server.sendall(startup)
                threading.Thread(target=_forward, args=(server, client), daemon=True).start()
                _forward(client, server)

    def _is_accepted(self, token: str) -> bool:
        age = self._now() - self._first_seen.setdefault(token, self._now())
        return age < _TOKEN_SECONDS and token not in self.revoked and self._is_signed(token)

    def _is_signed(self, token: str) -> bool:
        parts = urlsplit(f"https://{token}")
        params = dict(parse_qsl(parts.query))
        signature = params.pop("X-Amz-Signature")
        query = "&".join(f"{quote(name, safe='')}={quote(params[name], safe='')}" for name in sorted(params))
        empty = hashlib.sha256(b"").hexdigest()
        canonical = f"GET\n/\n{query}\nhost:{parts.netloc}\n\nhost\n{empty}"
        scope = "/".join([params["X-Amz-Date"][:8], REGION, "rds-db", "aws4_request"])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signed = f"AWS4-HMAC-SHA256\n{params['X-Amz-Date']}\n{scope}\n{digest}"
        key = f"AWS4{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return (
            parts.netloc == f"127.0.0.1:{self.port}"
            and (params["Action"], params["DBUser"]) == ("connect", "chat_app")
            and params["X-Amz-Expires"] == "900"
            and params["X-Amz-Credential"] == f"{CREDENTIALS['AWS_ACCESS_KEY_ID']}/{scope}"
            and hmac.compare_digest(signature, hmac.digest(key, signed.encode(), "sha256").hex())
        )


def _startup(client: socket.socket, reader: socket.SocketIO) -> bytes:
    while True:
        head = reader.read(8)
        length, code = struct.unpack("!ii", head)
        if code not in (_SSL_REQUEST, _GSS_REQUEST):
            return bytes(head + reader.read(length - 8))
        client.sendall(b"N")


def _error(state: str, message: str) -> bytes:
    fields = b"".join(
        b"%b%b\0" % (k, v.encode()) for k, v in ((b"S", "FATAL"), (b"C", state), (b"M", message))
    )
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):  # when one connection ends, close both
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
