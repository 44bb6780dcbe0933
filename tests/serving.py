"""Serves the functions over real HTTP: in a thread, in another process, or in the Lambda emulator."""

import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TextIO
from uuid import UUID

import httpx
import uvicorn

from dev.functions import functions
from dev.lambda_emulator import Emulator, in_thread, to_stderr
from dev.lambda_process import Log
from dev.local import ROOT
from dev.mock_llm import MockProcess
from dev.routing import CombinedApp
from dev.server import ReadyServer
from functions.chat_stream import app as chat_stream
from functions.conversations import app as conversations
from shared import auth
from shared.settings import Settings, load_settings

SECRET = "a secret for tests, long enough for HS256"


def token(user_id: UUID) -> str:
    return auth.sign(user_id, secret=SECRET, now=time.time(), lifetime=3600)


def environment(database_url: str, **environ: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, **environ}


def mocked(database_url: str, mock: MockProcess, model: str, **environ: str) -> dict[str, str]:
    """An environment in which all providers are the mock, the rate limit is high, and models without a known
    price may have a budget."""
    settings = {
        **mock.settings(),
        "LLM_MODEL": model,
        "LLM_UNKNOWN_PRICES": "allow",
        "RATE_LIMIT_CHAT": "1000/60",
    }
    return environment(database_url, **settings | environ)


def settings(database_url: str, **environ: str) -> Settings:
    """Settings read from an environment with these variables."""
    return load_settings(environment(database_url, **environ))


class Client(httpx.Client):
    """An HTTP client of a served app that sends the token of a user."""

    def __init__(self, url: str, user_id: UUID | None = None) -> None:
        headers = {"authorization": f"Bearer {token(user_id)}"} if user_id else {}
        super().__init__(base_url=url, headers=headers, timeout=30, trust_env=False)


class _PromptServer(ReadyServer):
    """Stops at once. uvicorn checks ten times a second whether to stop, and this wait would take most of the
    time of many tests."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if not self.should_exit:
            await self._stop.wait()

    def end(self) -> None:
        self.should_exit = True
        if hasattr(self, "_stop"):
            self._loop.call_soon_threadsafe(self._stop.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self.server_state
        for server in self.servers:
            server.close()
        for connection in list(state.connections):
            connection.shutdown()
        last = self._loop.time() + 2
        while (state.connections or state.tasks) and self._loop.time() < last:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """Serves both functions and yields the URL."""
    app = CombinedApp(chat_stream.create_app(settings), conversations.create_app(settings))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, proxy_headers=False)
    urls: queue.SimpleQueue[str] = queue.SimpleQueue()
    server = _PromptServer(config, urls.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield urls.get(timeout=60)
    finally:
        server.end()
        thread.join(15)


@contextmanager
def serve_on_lambda(environ: dict[str, str], log: Log = to_stderr) -> Iterator[str]:
    """Serves both functions in the Lambda emulator, with their real bootstraps, and yields the URL."""
    with in_thread(Emulator(functions(environ), log=log)) as url:
        yield url


class ChatOnLambda:
    """The chat function alone, in one process at a time, to which a test can send signals."""

    def __init__(self, environ: dict[str, str], **options: Any) -> None:
        chat_stream, _ = functions(environ)
        self._emulator = Emulator([replace(chat_stream, max_concurrency=1, **options)], log=lambda *_: None)

    @contextmanager
    def running(self) -> Iterator[str]:
        with in_thread(self._emulator) as url:
            yield url

    def signal(self, number: signal.Signals) -> None:
        for pid in self._emulator.processes["chat_stream"]:
            os.kill(pid, number)


@contextmanager
def serve_in_a_process(environ: dict[str, str]) -> Iterator[str]:
    """Serves both functions in another process, as `make run` does, and yields the URL."""
    with server_process(environ) as (url, _):
        yield url


@contextmanager
def server_process(environ: dict[str, str]) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Serves as `serve_in_a_process` does and also yields the process, so that a test can kill it."""
    env = {**os.environ, **environ, "PORT": "0"}
    command = [sys.executable, "-m", "dev.server"]
    # The log goes to a file, because the process would stop when an unread pipe is full.
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield _ready_url(process, output), process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(15)


def _ready_url(process: "subprocess.Popen[bytes]", output: TextIO) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        output.seek(0)
        ready = output.readline()
        if ready.startswith("ready ") and ready.endswith("\n"):
            return ready.split()[1]
        time.sleep(0.05)
    raise RuntimeError("the server did not start")
