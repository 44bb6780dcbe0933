"""`make run`: both functions on one port under uvicorn, beside an embedded Postgres."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from uuid import UUID

import uvicorn

from dev import command, local
from dev.routing import CombinedApp
from shared.settings import ConfigError

_GRACE_SECONDS = 2


class ReadyServer(uvicorn.Server):
    """A uvicorn server that calls `ready` with its URL when it accepts requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}")


def announce(url: str) -> None:
    """Programs wait for the line `ready`."""
    print(f"ready {url}\n", flush=True)
    print(f"open this page: {url}/\n")
    print(f"or paste this line:\n  {example(url, local.LOCAL_USER)}\n")
    print("Ctrl-C stops it.", flush=True)


def example(url: str, user_id: UUID) -> str:
    return (
        f"curl -N {url}/chat-stream -H 'Authorization: Bearer {local.token(user_id)}'"
        " -H 'Content-Type: application/json' -d '{\"message\": \"I want to sleep better\"}'"
    )


def main() -> int:
    port = command.port(os.environ.get("PORT"), 8787)
    command.check_port(port)
    try:
        os.environ.update(local.environment(f"http://127.0.0.1:{port}"))
        # Imported after the settings are set, because importing the functions reads the settings.
        from functions.chat_stream.app import app as chat_stream  # noqa: PLC0415
        from functions.conversations.app import app as conversations  # noqa: PLC0415
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    config = uvicorn.Config(
        CombinedApp(chat_stream, conversations),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # a client could forge X-Forwarded-For
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = ReadyServer(config, announce)
    for number in command.end_signals():
        # Also SIGHUP, which uvicorn does not handle.
        signal.signal(number, server.handle_exit)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
