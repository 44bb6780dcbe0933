"""A client of the Lambda Runtime API: takes invocations, sends responses and error reports.

This module is about HTTP and Lambda's headers, and does not use ASGI. Sources: AWS, "Using the Lambda runtime
API" and "Response streaming". The prelude and the trailers follow AWS's Node.js runtime client.
"""

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

from shared.lambda_runtime.http_connection import HttpConnection, HttpResponse
from shared.logs import logger

# Lambda looks for the delimiter in the first 16 KB of a streamed response. Without it the response fails.
MAX_PRELUDE_BYTES = 16 * 1024
_DELIMITER = bytes(8)
# Function URLs and REST APIs set these headers themselves, so the app's values are dropped.
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding"))
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
_INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
# Seconds before each attempt. The second follows at once, because a connection may have died while the
# process was frozen.
_PAUSES = (0, 0, 0.05, 0.1, 0.2, 0.4)


class RuntimeApiLost(Exception):
    """The Runtime API cannot be reached, or it refuses the request. The process has no more work."""


@dataclass(frozen=True)
class Invocation:
    """One call of the function.

    `event` is JSON. `deadline` is in seconds since the epoch: Lambda kills the process then, without
    notice. `invocation_id` is sent back with the response if Lambda has sent one.
    """

    request_id: str
    event: bytes
    deadline: float
    function_arn: str
    trace_id: str | None = None
    invocation_id: str | None = None


@dataclass(frozen=True)
class ErrorReport:
    """An error report for Lambda. Everyone who may invoke the function can read it.

    `reason` has the form `Function.Name` or `Runtime.Name`. Lambda replaces other values. `error_type` is the
    name of the exception's class. `message` is a fixed text: the text of an exception may hold a secret and
    stays in the log.
    """

    reason: str
    error_type: str
    message: str

    def body(self) -> bytes:
        described = {"errorMessage": self.message, "errorType": self.error_type, "stackTrace": []}
        return json.dumps(described).encode()


class RuntimeApi:
    """A client of the API at `address`, which is host:port, as in AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: HttpConnection | None = None

    async def next_invocation(self) -> Invocation:
        """Waits for the next invocation, without a time limit: Lambda freezes the process during the wait.
        Raises RuntimeApiLost."""
        response = await self._get("/runtime/invocation/next")
        headers = response.headers
        return Invocation(
            request_id=headers["lambda-runtime-aws-request-id"],
            event=response.body,
            deadline=int(headers["lambda-runtime-deadline-ms"]) / 1000,
            function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
            trace_id=headers.get("lambda-runtime-trace-id"),
            invocation_id=headers.get("lambda-runtime-invocation-id"),
        )

    async def start_response(self, invocation: Invocation, prelude: bytes) -> "StreamedResponse":
        """Starts the response to an invocation and sends its prelude, which `encode_prelude` makes."""
        connection = await self._start_request(
            "POST",
            f"/runtime/invocation/{invocation.request_id}/response",
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Content-Type", "application/vnd.awslambda.http-integration-response"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", f"{_ERROR_TYPE}, {_ERROR_BODY}"),
            *_invocation_id(invocation),
        )
        response = StreamedResponse(connection, invocation.request_id)
        # The prelude is sent in its own chunk: users of other runtimes report stalls if the prelude and the
        # body share a chunk.
        await response.write(prelude)
        return response

    async def report_error(self, invocation: Invocation, error: ErrorReport) -> None:
        """Ends an invocation whose response has not started."""
        path = f"/runtime/invocation/{invocation.request_id}/error"
        await self._report(path, error, *_invocation_id(invocation))

    async def report_init_error(self, error: ErrorReport) -> None:
        """Reports that the start failed. Lambda expects the process to exit then."""
        await self._report("/runtime/init/error", error)

    async def wait_for_restore(self) -> None:
        """Tells Lambda that the process is ready for a snapshot (SnapStart). Returns in each process that
        Lambda restores from the snapshot. Raises RuntimeApiLost."""
        await self._get("/runtime/restore/next")

    async def report_restore_error(self, error: ErrorReport) -> None:
        """Reports that the start after a snapshot failed. Lambda expects the process to exit then."""
        await self._report("/runtime/restore/error", error)

    async def _get(self, path: str) -> HttpResponse:
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            connection = await self._start_request("GET", path)
            response = await connection.response
            if response is None:
                continue
            if response.status != 200:
                raise RuntimeApiLost(f"the runtime API answered {response.status}")
            return response
        raise RuntimeApiLost("the runtime API cannot be reached")

    async def _start_request(self, method: str, path: str, *headers: tuple[str, str]) -> HttpConnection:
        """Sends the head of a request over the connection of the last request, or over a new one if that
        connection cannot be used again."""
        connection = self._connection
        if connection is None or not connection.start_next_cycle():
            if connection is not None:
                connection.close()
            connection = self._connection = await HttpConnection.connect(self._address)
        common = (("Host", self._address), ("User-Agent", "serverless-chat"))
        connection.send_head(method, f"/2018-06-01{path}", *common, *headers)
        return connection

    async def _report(self, path: str, error: ErrorReport, *headers: tuple[str, str]) -> None:
        body = error.body()
        connection = await self._start_request(
            "POST",
            path,
            (_ERROR_TYPE, error.reason),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            *headers,
        )
        connection.send_body(body)
        await _wait_until_accepted(connection, f"{error.reason} at {path}")


class StreamedResponse:
    """A response that is being written.

    No method raises: an error on Lambda's side must not stop the app, which still has to store the answer.
    When Lambda has answered, writing does nothing.
    """

    def __init__(self, connection: HttpConnection, request_id: str) -> None:
        self._connection = connection
        self._request_id = request_id

    async def write(self, data: bytes) -> None:
        """Sends one chunk, which is not empty, in one write. Waits while Lambda reads too slowly."""
        await self._connection.send_chunk(data)

    def end(self) -> None:
        """Completes the response."""
        self._connection.send_last_chunk()

    def abort(self, error: ErrorReport) -> None:
        """Ends the response early. The error is sent in trailers, which are not part of the client's body."""
        body = base64.b64encode(error.body()).decode()
        self._connection.send_last_chunk((_ERROR_TYPE, error.reason), (_ERROR_BODY, body))

    async def wait_until_accepted(self) -> None:
        """Waits for Lambda's answer, which comes after the end of the response, or before it when Lambda
        refuses the response."""
        await _wait_until_accepted(self._connection, f"the response to {self._request_id}")


def encode_prelude(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a streamed response: status, headers and cookies as JSON, and eight NULs.

    Raises ValueError when it is longer than MAX_PRELUDE_BYTES.
    """
    joined: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name not in _HOP_BY_HOP:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    described = {"statusCode": status, "headers": joined} | ({"cookies": cookies} if cookies else {})
    prelude = json.dumps(described, separators=(",", ":")).encode() + _DELIMITER
    if len(prelude) > MAX_PRELUDE_BYTES:
        raise ValueError(f"the response's headers take more than {MAX_PRELUDE_BYTES} bytes")
    return prelude


def _invocation_id(invocation: Invocation) -> list[tuple[str, str]]:
    return [(_INVOCATION_ID, invocation.invocation_id)] if invocation.invocation_id else []


async def _wait_until_accepted(connection: HttpConnection, subject: str) -> None:
    response = await connection.response
    # 400: the copy to the client failed. 410: the invocation is gone. None: the connection broke. In all
    # three cases only the response to the client is lost, so a warning is enough.
    if response is None or response.status != 202:
        status = response.status if response else None
        logger.warning("lambda did not accept a request", request=subject, status=status)
