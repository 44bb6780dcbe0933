"""A TCP proxy between a browser and a server that can break connections, as a lost network does."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit


class CuttingProxy:
    """Forwards bytes to `target`, an http URL. A test may change `target` at any time.

    `cut` resets the open connections. While `is_down`, new connections are reset. `lose_answers_after` resets
    each connection after the server has sent that many bytes on it. With `piece`, answers arrive in pieces of
    that many bytes.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.is_down = False
        self.lose_answers_after: int | None = None
        self.piece: int | None = None
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "CuttingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # shutdown ends the `accept` of the other thread
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Resets every open connection."""
        for connection in list(self._open):
            _reset(connection)

    def lose_network(self) -> None:
        self.is_down = True
        self.cut()

    def find_network(self) -> None:
        self.is_down = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                _reset(near)
                continue
            address = urlsplit(self.target)
            try:
                far = socket.create_connection((address.hostname or "", address.port or 80))
            except OSError:  # no server listens at `target`
                _reset(near)
                continue
            self._open |= {near, far}
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._forward, args=(near, far, far.sendall), daemon=True).start()
            threading.Thread(target=self._forward, args=(far, near, self._sender(near)), daemon=True).start()

    def _sender(self, near: socket.socket) -> Callable[[bytes], None]:
        count = 0

        def send(data: bytes) -> None:
            nonlocal count
            count += len(data)
            if self.lose_answers_after is not None and count > self.lose_answers_after:
                _reset(near)
                raise OSError("lost")
            size = self.piece or len(data)
            for start in range(0, len(data), size):
                near.sendall(data[start : start + size])
                time.sleep(0.001 if self.piece else 0)  # otherwise the reader gets several pieces at once

        return send

    def _forward(self, source: socket.socket, sink: socket.socket, send: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                send(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            self._open.discard(connection)
            connection.close()


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # ends a `recv` in another thread, which `close` does not
    connection.close()
