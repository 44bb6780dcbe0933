"""A Lambda Runtime API for tests: serves given invocations, records the requests, and can follow a script."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from dev.http1 import listening_stream
from shared.lambda_runtime.loop import serve
from shared.lambda_runtime.runtime_api import RuntimeApi

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Script = Callable[[Reader, Writer], Awaitable[None]]

ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
TRUNCATED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

GET_HEALTH = json.dumps(
    {
        "version": "2.0",
        "rawPath": "/health",
        "rawQueryString": "",
        "headers": {"host": "chat.example"},
        "requestContext": {"http": {"method": "GET", "path": "/health", "sourceIp": "203.0.113.7"}},
        "isBase64Encoded": False,
    }
).encode()


def invocation(event: bytes, request_id: str = "req-1", *headers: str) -> bytes:
    """A response to `/next`. Its deadline is 2100-01-01."""
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Lambda-Runtime-Aws-Request-Id: {request_id}",
        "Lambda-Runtime-Deadline-Ms: 4102444800500",
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:chat",
        *headers,
        f"Content-Length: {len(event)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + event


async def read_request(reader: Reader) -> bytes:
    """The bytes of one whole request."""
    raw = await reader.readuntil(b"\r\n\r\n")
    if length := re.search(rb"\r\nContent-Length: (\d+)", raw):
        return raw + await reader.readexactly(int(length[1]))
    if b"\r\nTransfer-Encoding: chunked" in raw:
        while (size := await reader.readuntil(b"\r\n")) != b"0\r\n":
            raw += size + await reader.readexactly(int(size, 16) + 2)
        raw += size
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            raw += line
        raw += line
    return raw


class ScriptedApi:
    """`answers` are the responses to `/next` and `/restore/next`, one for each request. After the last answer
    the API does not respond. `posts` are the bytes of all POST requests, with PORT instead of the port."""

    def __init__(self, *answers: bytes, script: Script | None = None) -> None:
        self.requests: list[str] = []
        self.posts: list[bytes] = []
        self.address = ""
        self.connections = 0
        self._answers = list(answers)
        self._script = script
        self._changed = asyncio.Event()

    async def posted(self, count: int) -> list[bytes]:
        """Waits for `count` POST requests."""
        await self._until(lambda: len(self.posts) >= count)
        return self.posts

    async def requested(self, count: int) -> list[str]:
        """Waits for `count` requests, in the form `GET /path` without the API version."""
        await self._until(lambda: len(self.requests) >= count)
        return self.requests

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: Reader, writer: Writer) -> bool:
        """Answers one request. Returns whether the connection stays open."""
        line = await reader.readuntil(b"\r\n")
        method, target, _ = line.decode().split(" ")
        self.requests.append(f"{method} {target.removeprefix('/2018-06-01/runtime')}")
        self._changed.set()
        if method == "GET":
            await reader.readuntil(b"\r\n\r\n")
            if not self._answers:
                await asyncio.Event().wait()
            answer = self._answers.pop(0)
            writer.write(answer)
            return b"\r\n\r\n" in answer and b"\r\nConnection: close" not in answer
        if self._script and target.endswith("/response"):
            await self._script(reader, writer)
            return False
        raw = line + await read_request(reader)
        self.posts.append(raw.replace(self.address.encode(), b"127.0.0.1:PORT"))
        self._changed.set()
        writer.write(ACCEPTED)
        return True


@asynccontextmanager
async def scripted_api(*answers: bytes, script: Script | None = None):
    api = ScriptedApi(*answers, script=script)
    async with listening_stream(api.serve) as port:
        api.address = f"127.0.0.1:{port}"
        yield api
    await asyncio.sleep(0)


@asynccontextmanager
async def serving(app, api, state=None):
    """Runs the loop of the runtime in this process until the block ends."""
    task = asyncio.create_task(serve(app, RuntimeApi(api.address), state or {}))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def posts_of(app, *events, count=1):
    """The POST requests of the runtime after these events."""

    async def main():
        invocations = [invocation(event, f"req-{number}") for number, event in enumerate(events, 1)]
        async with scripted_api(*invocations) as api, serving(app, api):
            return await api.posted(count)

    return asyncio.run(main())


async def start(send, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send, data=b"", *, more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def ok(scope, receive, send):
    await start(send)
    await body(send, b"fine")
