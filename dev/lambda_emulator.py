"""Emulates AWS Lambda with streamed responses, without containers.

One port serves function URLs and REST APIs. Each function runs in processes that use an emulated Runtime API.
A process is frozen between invocations and killed at its timeout. Concurrent requests start more processes.

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

from dev.http1 import Connection, Disconnected, listening
from dev.lambda_events import HttpRequest, function_url_event, resource_for, rest_api_event
from dev.lambda_payload import MalformedPayload, PayloadReader, ResponseHead
from dev.lambda_pool import ProcessPool
from dev.lambda_process import Function, Log
from dev.page import Page
from dev.runtime_api import Failure, Sink

__all__ = ["Emulator", "Failure", "Function", "Result", "Sink", "in_thread"]

_MAX_REQUEST_BYTES = 6 * 1024 * 1024
# The response to a failure before the first byte. After the first byte the connection is aborted.
_ERROR_PAGES = {
    "TooManyRequests": (429, "Rate Exceeded."),
    "Sandbox.Timedout": (504, "Endpoint request timed out"),
}


def to_stderr(name: str, line: str) -> None:
    print(f"{name} | {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Result:
    """The result of a direct invocation, as `InvokeWithResponseStream` returns it.

    The payload of a streamed response includes the prelude.
    """

    payload: bytes
    failure: Failure | None
    streaming: bool


class Emulator:
    """Serves functions on one port.

    `port` 0 means any free port. `log` is called with the name of a function and each line of its output.
    `page` has static files to serve.
    """

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
        """Invokes a function and sends the payload to `sink`. Returns when the process is idle again."""
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
        # A separate task, because the invocation continues after the response and after a disconnect.
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
    """Runs an emulator in a thread. Yields its URL."""
    started: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()

    async def run() -> None:
        async with emulator:
            stopped = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stopped))
            await stopped.wait()

    with futures.ThreadPoolExecutor(max_workers=1) as thread:
        finished = thread.submit(asyncio.run, run())
        either: set[futures.Future[Any]] = {started, finished}
        futures.wait(either, return_when=futures.FIRST_COMPLETED)
        if finished.done():
            finished.result()  # raises the error of the start
        loop, stopped = started.result()
        try:
            yield emulator.url
        finally:
            loop.call_soon_threadsafe(stopped.set)
            finished.result()


class _HttpResponse:
    """A sink that responds to an HTTP client. Drops the rest of the payload after a disconnect."""

    def __init__(self, connection: Connection) -> None:
        self.finished = asyncio.Event()
        self._connection = connection
        self._payload = PayloadReader(streaming=False)
        self._head: ResponseHead | None = None

    async def start(self, *, streaming: bool) -> None:
        self._payload = PayloadReader(streaming=streaming)

    async def write(self, data: bytes) -> None:
        await self._forward(self._payload.feed(data))

    async def finish(self, failure: Failure | None) -> None:
        if failure is None:
            await self._forward(self._payload.close())
            await self._end(h11.EndOfMessage())
        elif self._head is None:
            await self._send_error(*_ERROR_PAGES.get(failure.reason, (502, "Internal Server Error")))
        elif not self.finished.is_set():
            self._connection.abort()
            self.finished.set()

    async def _forward(self, pieces: Iterator[ResponseHead | bytes]) -> None:
        if self.finished.is_set():
            return
        try:
            for piece in pieces:
                if isinstance(piece, ResponseHead):
                    self._head = piece
                    await self._connection.send(h11.Response(status_code=piece.status, headers=piece.headers))
                elif self._head and self._connection.has_body(self._head.status):
                    await self._connection.send(h11.Data(data=piece))
        except MalformedPayload:
            await self._send_error(502, "Internal Server Error")
        except Disconnected:
            self.finished.set()

    async def _send_error(self, status: int, message: str) -> None:
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
    """A sink that keeps the payload."""

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
