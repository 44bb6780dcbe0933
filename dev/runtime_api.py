"""The server of the Lambda Runtime API, for one function process.

Payloads are bytes here; `dev.lambda_payload` parses them. The statuses and bodies of the responses are those
of AWS's Runtime Interface Emulator.
"""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import h11

from dev.http1 import Connection, Disconnected

_PREFIX = "/2018-06-01/runtime"
_MAX_BUFFERED_BYTES = 6 * 1024 * 1024 + 100
_JSON = [("Content-Type", "application/json")]


@dataclass(frozen=True)
class Failure:
    """The failure of an invocation or an init.

    `reason` is Lambda's error type, for instance `Function.Unhandled` or `Sandbox.Timedout`. `body` is the
    JSON that the function reported, or empty.
    """

    reason: str
    body: bytes = b""


class Sink(Protocol):
    """Receives the payload of an invocation in parts, as they arrive."""

    async def start(self, *, streaming: bool) -> None:
        """The response starts. A payload that is not streaming is one JSON value."""

    async def write(self, data: bytes) -> None:
        """Receives a part. Returns when it can accept the next part, so that a slow client slows the function
        down."""

    async def finish(self, failure: Failure | None) -> None:
        """The invocation has ended. This call always happens, and it is the last."""


def trace_root() -> str:
    """A new X-Ray trace id without a parent."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"


def trace_id(*, sampled: bool = False) -> str:
    return f"{trace_root()};Parent={secrets.token_hex(8)};Sampled={sampled:d}"


@dataclass(eq=False)
class Invocation:
    """One invocation of the function. `deadline` is in seconds since the epoch."""

    event: bytes
    sink: Sink
    function_arn: str
    deadline: float
    request_id: str = field(default_factory=lambda: str(uuid4()))
    invocation_id: str = field(default_factory=lambda: str(uuid4()))
    trace_id: str = field(default_factory=trace_id)
    responding: bool = False
    finished: bool = False

    async def finish(self, failure: Failure | None = None) -> None:
        """Ends the invocation. Later calls do nothing, because a process can time out after its response."""
        if not self.finished:
            self.finished = True
            await self.sink.finish(failure)


class RuntimeApi:
    """The Runtime API of one process. `serve` is for `dev.http1.listening`.

    `idle` is set while the process waits for `/next` or `/restore/next`.
    """

    def __init__(self) -> None:
        self.init_failure: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        self.idle = asyncio.Event()
        self._invocations: asyncio.Queue[Invocation] = asyncio.Queue()
        self._current: Invocation | None = None
        self._restored = asyncio.Event()

    def restore(self) -> None:
        """Answers `/restore/next`."""
        self.idle.clear()
        self._restored.set()

    def send(self, invocation: Invocation) -> None:
        """Sends an invocation to the process, which must be idle."""
        self.idle.clear()
        self._invocations.put_nowait(invocation)

    async def serve(self, connection: Connection) -> None:
        while request := await connection.request():
            method, path = request.method.decode(), request.target.decode()
            match method, path.removeprefix(_PREFIX).strip("/").split("/"):
                case "GET", ["invocation", "next"]:
                    await self._next(connection)
                case "POST", ["invocation", request_id, "response"]:
                    await self._response(connection, request, request_id)
                case "POST", ["invocation", request_id, "error"]:
                    await self._error(connection, request, request_id)
                case "POST", ["init" | "restore", "error"]:
                    await self._init_error(connection, request)
                case "GET", ["restore", "next"]:
                    await self._restore_next(connection)
                case _:
                    await _read_all(connection.body())
                    await _refuse(connection, 404, "NotFound", "There is no such path")

    async def _next(self, connection: Connection) -> None:
        await _read_all(connection.body())
        if self._current:
            # The runtime may request the next invocation without a response to this one.
            await self._current.finish(Failure("Runtime.NoResponse"))
        self.idle.set()
        self._current = invocation = await self._invocations.get()
        headers = [
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int(invocation.deadline * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", invocation.function_arn),
            ("Lambda-Runtime-Trace-Id", invocation.trace_id),
            ("Lambda-Runtime-Invocation-Id", invocation.invocation_id),
        ]
        await connection.respond(200, _JSON + headers, invocation.event)

    async def _restore_next(self, connection: Connection) -> None:
        await _read_all(connection.body())
        self.idle.set()
        await self._restored.wait()
        await connection.respond(200, _JSON, b"")

    async def _response(self, connection: Connection, request: h11.Request, request_id: str) -> None:
        invocation = self._waiting_invocation(request, request_id)
        if invocation is None:
            await _read_all(connection.body())
            await _refuse(connection, 400, "InvalidRequestID", "Invalid request ID")
            return
        invocation.responding = True
        mode = _header(request, b"lambda-runtime-function-response-mode")
        try:
            if mode == "streaming":
                accepted = await self._receive_stream(connection, invocation)
            else:
                accepted = await self._receive_buffered(connection, invocation)
        except Disconnected:
            await invocation.finish(Failure("Runtime.TruncatedResponse"))
            raise
        if accepted:
            await _accept(connection)
        else:
            await _refuse(connection, 413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size")

    async def _receive_stream(self, connection: Connection, invocation: Invocation) -> bool:
        await invocation.sink.start(streaming=True)
        async for data in connection.body():
            await invocation.sink.write(data)
        await invocation.finish(_failure_in(connection.trailers))
        return True

    async def _receive_buffered(self, connection: Connection, invocation: Invocation) -> bool:
        payload = await _read_all(connection.body())
        if len(payload) > _MAX_BUFFERED_BYTES:
            await invocation.finish(Failure("Function.ResponseSizeTooLarge"))
            return False
        await invocation.sink.start(streaming=False)
        await invocation.sink.write(payload)
        await invocation.finish()
        return True

    async def _error(self, connection: Connection, request: h11.Request, request_id: str) -> None:
        invocation = self._waiting_invocation(request, request_id)
        body = await _read_all(connection.body())
        if invocation is None:
            await _refuse(connection, 400, "InvalidRequestID", "Invalid request ID")
            return
        await invocation.finish(Failure(_reason(request), body))
        await _accept(connection)

    async def _init_error(self, connection: Connection, request: h11.Request) -> None:
        body = await _read_all(connection.body())
        if not self.init_failure.done():
            self.init_failure.set_result(Failure(_reason(request), body))
        await _accept(connection)

    def _waiting_invocation(self, request: h11.Request, request_id: str) -> Invocation | None:
        """The invocation that waits for this response or error, or None."""
        invocation = self._current
        if invocation is None or invocation.request_id != request_id or invocation.responding:
            return None
        # Runtimes older than July 2026 do not send the invocation id.
        echo = _header(request, b"lambda-runtime-invocation-id") or invocation.invocation_id
        return invocation if echo == invocation.invocation_id and not invocation.finished else None


def _header(request: h11.Request, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in request.headers if key == name), None)


def _reason(request: h11.Request) -> str:
    return _header(request, b"lambda-runtime-function-error-type") or "Runtime.Unknown"


def _failure_in(trailers: dict[str, str]) -> Failure | None:
    reason = trailers.get("lambda-runtime-function-error-type")
    if reason is None:
        return None
    try:
        return Failure(reason, base64.b64decode(trailers.get("lambda-runtime-function-error-body", "")))
    except binascii.Error:
        return Failure(reason)


async def _read_all(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


async def _accept(connection: Connection) -> None:
    await connection.respond(202, _JSON, b'{"status":"OK"}\n')


async def _refuse(connection: Connection, status: int, kind: str, message: str) -> None:
    body = json.dumps({"errorMessage": message, "errorType": kind}).encode()
    await connection.respond(status, _JSON, body)
