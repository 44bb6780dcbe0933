"""A TCP proxy in front of Postgres that loses replies: the statement has run, but its reply never arrives."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class PostgresProxy:
    """Forwards connections to the server's Unix socket. When a client sends `lose_reply_to`, the proxy waits
    for the reply of the server and then closes the connection without sending it, at most `times` times."""

    def __init__(self, socket_folder: str, *, lose_reply_to: str, times: int = 1) -> None:
        self.lost = 0
        self._times = times
        self._server_path = f"{socket_folder}/.s.PGSQL.5432"
        self._trigger = lose_reply_to.encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []

    def __enter__(self) -> "PostgresProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in self._open:
            _close(connection)

    def url(self, database_url: str) -> str:
        parts = urlsplit(database_url)
        port = self._listener.getsockname()[1]
        return f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server_path)
            self._open += [client, server]
            losing = threading.Event()
            threading.Thread(target=self._upstream, args=(client, server, losing), daemon=True).start()
            threading.Thread(target=self._downstream, args=(client, server, losing), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        while data := _receive(client):
            if self.lost < self._times and self._trigger in data:
                self.lost += 1
                losing.set()
            with contextlib.suppress(OSError):
                server.sendall(data)
        _close(server)

    def _downstream(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        while data := _receive(server):
            if losing.is_set() and data.rstrip(b"\0")[-6:].startswith(b"Z"):
                break  # ReadyForQuery: the transaction is over
            if not losing.is_set():
                with contextlib.suppress(OSError):
                    client.sendall(data)
        _close(client)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
