"""AWS Lambda on a laptop, without a container: function URLs and REST APIs on one port, and behind them
processes that speak to the real Runtime API's twin, are frozen between invocations, killed at their
timeout, and multiplied by concurrent requests. Responses stream.

    async with Emulator([Function(name="chat", command=[...], handler="app:app")]) as emulator:
        httpx.get(emulator.url + "/health")
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import h11

from dev.front_doors import HttpRequest, function_url_event, resource_for, rest_api_event
from dev.http1 import Connection, Disconnected, listening
from dev.lambda_payload import AnswerMeta, MalformedPayload, PayloadReader
from dev.lambda_pool import ProcessPool
from dev.lambda_process import Function, Log
from dev.page import Page
from dev.runtime_api import Failure, Sink

__all__ = ["Emulator", "Failure", "Function", "Result", "Sink", "in_thread"]

_MAX_REQUEST_BYTES = 6 * 1024 * 1024
# What clients see of a failure before the first byte. After it, the connection is cut.
_ERROR_PAGES = {
    "TooManyRequests": (429, "Rate Exceeded."),
    "Sandbox.Timedout": (504, "Endpoint request timed out"),
}


def to_stderr(name: str, line: str) -> None:
    print(f"{name} | {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Result:
    """Of an invocation without a front door, as `InvokeWithResponseStream` gives it: the payload has
    the prelude of a streamed response in it."""

    payload: bytes
    failure: Failure | None
    streaming: bool


class Emulator:
    """`port` 0 is any free one; `log` is called with the function's name for each line it prints; `page`
    has files that are served beside the functions, as by a static host."""

    def __init__(
        self,
        functions: Sequence[Function],
        *,
        port: int = 0,
        log: Log = to_stderr,
        page: Page | None = None,
    ) -> None:
        self._pools = {function.name: ProcessPool(function, log) for function in functions}
        self._port = port
        self._page = page
        self._resources = contextlib.AsyncExitStack()
        self._invocations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Emulator":
        for pool in self._pools.values():
            self._resources.push_async_callback(pool.stop)
        self._resources.push_async_callback(self._end_invocations)
        self._port = await self._resources.enter_async_context(listening(self._serve, self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def processes(self) -> Mapping[str, list[int]]:
        """The process ids of each function."""
        return {
            name: [process.pid for process in pool.processes if process.alive]
            for name, pool in self._pools.items()
        }

    async def invoke(self, name: str, event: Any) -> Result:
        """Invokes a function with any JSON value."""
        recorder = _Recorder()
        await self.stream(name, event, recorder)
        return Result(bytes(recorder.payload), recorder.failure, recorder.streaming)

    async def stream(self, name: str, event: Any, sink: Sink) -> None:
        """The same, piece by piece. Returns when the function is idle again."""
        await self._pools[name].invoke(json.dumps(event).encode(), sink)

    async def _serve(self, connection: Connection) -> None:
        while head := await connection.request():
            body = bytearray()
            async for piece in connection.body():
                body += piece if len(body) <= _MAX_REQUEST_BYTES else b""
            request = HttpRequest(
                method=head.method.decode(),
                target=head.target.decode("latin-1"),
                headers=[
                    (name.decode(), value.decode("latin-1")) for name, value in head.headers.raw_items()
                ],
                body=bytes(body),
                client=connection.peer,
            )
            if len(body) > _MAX_REQUEST_BYTES:
                await _respond_error(connection, 413, "Request Too Long")
            else:
                await self._route(request, connection)

    async def _route(self, request: HttpRequest, connection: Connection) -> None:
        file = self._page and self._page.find(request.method, request.path, request.header)
        if file:
            await connection.respond(file.status, file.headers, file.body)
            return
        resources = {route: pool for pool in self._pools.values() for route in pool.function.routes}
        resource = resource_for(request.path, resources)
        if resource is None:
            await _respond_error(connection, 404, "Not Found")
            return
        pool = resources[resource]
        event = (
            function_url_event(request)
            if pool.function.event_format == "url"
            else rest_api_event(request, resource)
        )
        response = _HttpResponse(connection)
        # A task of its own: it goes on when the client does not, and may go on after its response.
        invocation = asyncio.create_task(self._invoke(pool, event, response))
        self._invocations.add(invocation)
        invocation.add_done_callback(self._invocations.discard)
        await response.finished.wait()

    async def _invoke(self, pool: ProcessPool, event: dict[str, Any], response: "_HttpResponse") -> None:
        try:
            await pool.invoke(json.dumps(event).encode(), response)
        finally:
            await response.finish(Failure("Sandbox.Failure"))

    async def _end_invocations(self) -> None:
        for invocation in self._invocations:
            invocation.cancel()
        await asyncio.gather(*self._invocations, return_exceptions=True)


@contextlib.contextmanager
def in_thread(emulator: Emulator) -> Iterator[str]:
    """Runs an emulator beside code that is not async; gives its URL."""
    started: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()

    async def live() -> None:
        async with emulator:
            ended = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), ended))
            await ended.wait()

    with futures.ThreadPoolExecutor(max_workers=1) as thread:
        living = thread.submit(asyncio.run, live())
        either: set[futures.Future[Any]] = {started, living}
        futures.wait(either, return_when=futures.FIRST_COMPLETED)
        if living.done():
            living.result()  # It never started: raises why.
        loop, ended = started.result()
        try:
            yield emulator.url
        finally:
            loop.call_soon_threadsafe(ended.set)
            living.result()


class _HttpResponse:
    """A sink that answers a client. That the client has left hinders nothing: the rest goes nowhere."""

    def __init__(self, connection: Connection) -> None:
        self.finished = asyncio.Event()
        self._connection = connection
        self._payload = PayloadReader(streaming=False)
        self._head: AnswerMeta | None = None

    async def start(self, *, streaming: bool) -> None:
        self._payload = PayloadReader(streaming=streaming)

    async def write(self, data: bytes) -> None:
        await self._pass_on(self._payload.feed(data))

    async def finish(self, failure: Failure | None) -> None:
        if failure is None:
            await self._pass_on(self._payload.close())
            await self._end(h11.EndOfMessage())
        elif self._head is None:
            await self._show(*_ERROR_PAGES.get(failure.reason, (502, "Internal Server Error")))
        elif not self.finished.is_set():
            self._connection.abort()
            self.finished.set()

    async def _pass_on(self, pieces: Iterator[AnswerMeta | bytes]) -> None:
        if self.finished.is_set():
            return
        try:
            for piece in pieces:
                if isinstance(piece, AnswerMeta):
                    self._head = piece
                    await self._connection.send(h11.Response(status_code=piece.status, headers=piece.headers))
                elif self._head and self._connection.has_body(self._head.status):
                    await self._connection.send(h11.Data(data=piece))
        except MalformedPayload:
            await self._show(502, "Internal Server Error")
        except Disconnected:
            self.finished.set()

    async def _show(self, status: int, message: str) -> None:
        if not self.finished.is_set():
            with contextlib.suppress(Disconnected):
                await _respond_error(self._connection, status, message)
            self.finished.set()

    async def _end(self, event: h11.Event) -> None:
        if not self.finished.is_set():
            with contextlib.suppress(Disconnected):
                await self._connection.send(event)
            self.finished.set()


class _Recorder:
    def __init__(self) -> None:
        self.payload = bytearray()
        self.failure: Failure | None = None
        self.streaming = False

    async def start(self, *, streaming: bool) -> None:
        self.streaming = streaming

    async def write(self, data: bytes) -> None:
        self.payload += data

    async def finish(self, failure: Failure | None) -> None:
        self.failure = failure


async def _respond_error(connection: Connection, status: int, message: str) -> None:
    body = json.dumps({"message": message}).encode()
    await connection.respond(status, [("Content-Type", "application/json")], body)
