"""The Lambda Runtime API, from a runtime's side: invocations come, responses and faults go.

Knows HTTP and Lambda's headers, and nothing of ASGI. Sources: AWS, "Using the Lambda runtime API" and
"Response streaming", and AWS's own Node.js runtime client for the prelude and the trailers.
"""

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

from shared.lambda_runtime.exchange import Answer, Exchange
from shared.logs import logger

# Lambda looks for the delimiter in the first 16 KB of a streamed response, and fails it without.
MAX_PRELUDE_BYTES = 16 * 1024
_DELIMITER = bytes(8)
# Lambda's front doors frame the response themselves; these would contradict them.
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding"))
_FAULT_TYPE = "Lambda-Runtime-Function-Error-Type"
_FAULT_BODY = "Lambda-Runtime-Function-Error-Body"
_INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
# Seconds between attempts: the first is for a connection that died while the process was frozen.
_RETRIES = (0, 0, 0.05, 0.1, 0.2, 0.4)


class RuntimeApiLost(Exception):
    """The Runtime API is out of reach or refuses its service: the environment is at its end."""


@dataclass(frozen=True)
class Invocation:
    """What Lambda asks for. `event` is JSON; `deadline` is in seconds since the epoch, and at it the
    process is killed without notice."""

    request_id: str
    event: bytes
    deadline: float
    function_arn: str
    trace_id: str | None = None
    invocation_id: str | None = None


@dataclass(frozen=True)
class Fault:
    """What Lambda is told of a failure, and shows to whoever may invoke the function.

    `reason` is `Function.` or `Runtime.` and letters, else Lambda replaces it; `error` is the name of
    the class. The message is ours: the exception's own text stays in the process.
    """

    reason: str
    error: str
    message: str

    def body(self) -> bytes:
        described = {"errorMessage": self.message, "errorType": self.error, "stackTrace": []}
        return json.dumps(described).encode()


class RuntimeApi:
    """`address` is host:port, as in AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._last: Exchange | None = None

    async def next(self) -> Invocation:
        """The next invocation, waited for without limit: the process may be frozen meanwhile.
        Raises RuntimeApiLost."""
        answer = await self._get("/runtime/invocation/next")
        headers = answer.headers
        return Invocation(
            request_id=headers["lambda-runtime-aws-request-id"],
            event=answer.body,
            deadline=int(headers["lambda-runtime-deadline-ms"]) / 1000,
            function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
            trace_id=headers.get("lambda-runtime-trace-id"),
            invocation_id=headers.get("lambda-runtime-invocation-id"),
        )

    async def respond(self, invocation: Invocation, prelude: bytes) -> "StreamedResponse":
        """Starts the response with its head, from `prelude()`."""
        exchange = await self._begin(
            "POST",
            f"/runtime/invocation/{invocation.request_id}/response",
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Content-Type", "application/vnd.awslambda.http-integration-response"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", f"{_FAULT_TYPE}, {_FAULT_BODY}"),
            *_invocation_id(invocation),
        )
        response = StreamedResponse(exchange, invocation.request_id)
        # By itself: clients were reported to stall where it shares a chunk with the body.
        await response.write(prelude)
        return response

    async def fail(self, invocation: Invocation, fault: Fault) -> None:
        """Ends an invocation of which no response has begun."""
        path = f"/runtime/invocation/{invocation.request_id}/error"
        await self._report(path, fault, *_invocation_id(invocation))

    async def fail_init(self, fault: Fault) -> None:
        """Lambda expects the process to exit after this."""
        await self._report("/runtime/init/error", fault)

    async def restored(self) -> None:
        """Offers the process for a snapshot (SnapStart); returns in each process restored from it.
        Raises RuntimeApiLost."""
        await self._get("/runtime/restore/next")

    async def fail_restore(self, fault: Fault) -> None:
        """Lambda expects the process to exit after this."""
        await self._report("/runtime/restore/error", fault)

    async def _get(self, path: str) -> Answer:
        for pause in _RETRIES:
            await asyncio.sleep(pause)
            exchange = await self._begin("GET", path)
            answer = await exchange.answer
            if answer is None:
                continue
            if answer.status != 200:
                raise RuntimeApiLost(f"the runtime API answered {answer.status}")
            return answer
        raise RuntimeApiLost("the runtime API is out of reach")

    async def _begin(self, method: str, path: str, *headers: tuple[str, str]) -> Exchange:
        """Over the connection of the request before, as long as it lasts: an invocation is answered where
        it came from."""
        exchange = self._last
        if exchange is None or not exchange.again():
            if exchange is not None:
                exchange.close()
            exchange = self._last = await Exchange.connect(self._address)
        common = (("Host", self._address), ("User-Agent", "serverless-chat"))
        exchange.begin(method, f"/2018-06-01{path}", *common, *headers)
        return exchange

    async def _report(self, path: str, fault: Fault, *headers: tuple[str, str]) -> None:
        body = fault.body()
        exchange = await self._begin(
            "POST",
            path,
            (_FAULT_TYPE, fault.reason),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            *headers,
        )
        exchange.write_all(body)
        await _settle(exchange, f"{fault.reason} at {path}")


class StreamedResponse:
    """A response under way. Nothing here raises: what Lambda makes of the response is no reason to
    break off the work that produces it. Once Lambda has answered, writing does nothing."""

    def __init__(self, exchange: Exchange, request_id: str) -> None:
        self._exchange = exchange
        self._request_id = request_id

    async def write(self, data: bytes) -> None:
        """One chunk in one write; waits while Lambda is slower than we are. `data` is not empty."""
        await self._exchange.write_chunk(data)

    def end(self) -> None:
        self._exchange.end_chunks()

    def fail(self, fault: Fault) -> None:
        """Breaks the response off. The fault travels in trailers, outside the client's body."""
        body = base64.b64encode(fault.body()).decode()
        self._exchange.end_chunks((_FAULT_TYPE, fault.reason), (_FAULT_BODY, body))

    async def settle(self) -> None:
        """Waits for Lambda's answer, which follows the end or comes instead of it."""
        await _settle(self._exchange, f"the response to {self._request_id}")


def prelude(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a streamed response: status, headers and cookies as JSON, and eight NULs.

    Raises ValueError when it is larger than Lambda reads.
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
    head = json.dumps(described, separators=(",", ":")).encode() + _DELIMITER
    if len(head) > MAX_PRELUDE_BYTES:
        raise ValueError(f"the response's headers take more than {MAX_PRELUDE_BYTES} bytes")
    return head


def _invocation_id(invocation: Invocation) -> list[tuple[str, str]]:
    return [(_INVOCATION_ID, invocation.invocation_id)] if invocation.invocation_id else []


async def _settle(exchange: Exchange, what: str) -> None:
    answer = await exchange.answer
    # 400 when the copy to the client failed, 410 when the invocation is gone, nothing at all when the
    # connection broke: the client has lost something, the function has not.
    if answer is None or answer.status != 202:
        logger.warning("lambda did not take a report", report=what, status=answer.status if answer else None)
