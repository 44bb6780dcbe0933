"""Serves an ASGI app on AWS Lambda, with responses that stream: `python -m shared.lambda_runtime.loop
package.module:app`.

Owns the order of things from init to shutdown, and what the app sees of an invocation. The wire
belongs to `shared.lambda_runtime.runtime_api`, the events to `shared.lambda_runtime.events`.
"""

import asyncio
import contextlib
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from shared.asgi import ASGIApp, Lifespan, LifespanFailed, Message
from shared.lambda_runtime.events import UnsupportedEvent, http_request
from shared.lambda_runtime.runtime_api import (
    Fault,
    Invocation,
    RuntimeApi,
    RuntimeApiLost,
    StreamedResponse,
    prelude,
)
from shared.logs import logger
from shared.settings import ConfigError

Hook = TypeVar("Hook", bound=Callable[[], Awaitable[None]])

# Lambda gives 0.5 s between SIGTERM and SIGKILL, and none at all without an extension.
_SHUTDOWN_SECONDS = 0.3

_before_checkpoint: list[Callable[[], Awaitable[None]]] = []
_after_restore: list[Callable[[], Awaitable[None]]] = []


class HandlerNotFound(Exception):
    """The target is not `module:attribute`, or there is no ASGI app of that name."""


@dataclass(frozen=True)
class LambdaContext:
    """`scope["aws.context"]`. `deadline` is in seconds since the epoch: the process is killed at it."""

    aws_request_id: str
    invoked_function_arn: str
    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.time()) * 1000))


def on_checkpoint(hook: Hook) -> Hook:
    """Calls `hook` before a snapshot is taken (SnapStart), the last registered first. To be closed
    there: what does not survive being copied, connections above all."""
    _before_checkpoint.append(hook)
    return hook


def on_restore(hook: Hook) -> Hook:
    """Calls `hook` in each process made from the snapshot, in the order of registration."""
    _after_restore.append(hook)
    return hook


async def run(target: str, api: RuntimeApi) -> int:
    """Serves `target` until SIGTERM or the end of the Runtime API; the process's exit status."""
    snap_start = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    try:
        app = load(target)
        lifespan = Lifespan(app)
        await lifespan.startup()
        if snap_start:
            # What it has opened would not survive being copied: each copy starts it anew.
            await lifespan.shutdown()
            for hook in reversed(_before_checkpoint):
                await hook()
    except Exception as error:
        logger.exception("the function failed to initialise", reason=_quotable(error))
        await api.fail_init(_init_fault(error))
        return 1
    if snap_start:
        lifespan = Lifespan(app)
        if not await _restore(api, lifespan):
            return 1
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    serving = asyncio.create_task(serve(app, api, lifespan.state))
    terminating = asyncio.create_task(terminated.wait())
    await asyncio.wait({serving, terminating}, return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_SECONDS):
            serving.cancel()
            # A request that does not let go may be waiting for what only the app's shutdown ends.
            await asyncio.wait({serving}, timeout=_SHUTDOWN_SECONDS / 6)
            await lifespan.shutdown()
            await asyncio.wait({serving})
    return 0 if terminated.is_set() else 1


def load(target: str) -> ASGIApp:
    """The app at `package.module:app`, or `package/module.app` as Lambda writes handlers.

    Raises HandlerNotFound, and whatever importing the module raises.
    """
    module, _, attribute = target.replace("/", ".").rpartition(":" if ":" in target else ".")
    if not module or not attribute:
        raise HandlerNotFound(f"{target!r} is not of the form package.module:app")
    app: ASGIApp | None = getattr(importlib.import_module(module), attribute, None)
    if not callable(app):
        raise HandlerNotFound(f"{module} has no app named {attribute!r}")
    return app


async def serve(app: ASGIApp, api: RuntimeApi, state: dict[str, object]) -> None:
    """Answers one invocation after the other. Returns when the Runtime API is lost."""
    while True:
        try:
            invocation = await api.next()
        except RuntimeApiLost as error:
            logger.warning("the runtime ends", reason=str(error))
            return
        _set_trace(invocation.trace_id)
        await _answer(app, api, invocation, state)


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else os.environ["_HANDLER"]
    sys.exit(asyncio.run(run(target, RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"]))))


class _Cycle:
    """One invocation as the app sees it: a request, then a response."""

    def __init__(self, api: RuntimeApi, invocation: Invocation, body: bytes) -> None:
        self._api = api
        self._invocation = invocation
        self._body: bytes | None = body
        self._response: StreamedResponse | None = None
        self._complete = asyncio.Event()

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # Lambda never tells that a client has left, so there is nothing to say before the end.
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start" if self._response is None:
                head = prelude(message["status"], message.get("headers", ()))
                self._response = await self._api.respond(self._invocation, head)
            case "http.response.body" if self._response and not self._complete.is_set():
                if body := message.get("body", b""):
                    await self._response.write(body)
                if not message.get("more_body", False):
                    self._response.end()
                    self._complete.set()
            case kind:
                raise RuntimeError(f"{kind} is not expected at this point of the response")

    async def settle(self, fault: Fault | None) -> None:
        """Tells Lambda how the invocation ended. A fault after the whole response stays in the log."""
        if self._response is None:
            await self._api.fail(self._invocation, fault or _INCOMPLETE)
            return
        if not self._complete.is_set():
            self._response.fail(fault or _INCOMPLETE)
        await self._response.settle()


async def _answer(app: ASGIApp, api: RuntimeApi, invocation: Invocation, state: dict[str, object]) -> None:
    try:
        event = json.loads(invocation.event)
        scope, body = http_request(event)
    except (UnsupportedEvent, ValueError, RecursionError):
        logger.warning("an event that is no HTTP request was refused", request_id=invocation.request_id)
        await api.fail(invocation, _UNSUPPORTED)
        return
    scope["state"] = state.copy()
    scope["aws.event"] = event
    scope["aws.context"] = LambdaContext(invocation.request_id, invocation.function_arn, invocation.deadline)
    cycle = _Cycle(api, invocation, body)

    async def call() -> None:
        await app(scope, cycle.receive, cycle.send)

    # A task of its own has context variables of its own: none of them reaches the next invocation.
    task = asyncio.create_task(call())
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    await cycle.settle(_fault(task, invocation))


def _fault(task: asyncio.Task[None], invocation: Invocation) -> Fault | None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return None
    logger.error("the app failed", exc_info=error, request_id=invocation.request_id)
    return Fault("Function.Unhandled", type(error).__name__, "The function failed; its log says where.")


async def _restore(api: RuntimeApi, lifespan: Lifespan) -> bool:
    try:
        await api.restored()
        random.seed()  # Or all processes made from one snapshot draw the same numbers.
        for hook in _after_restore:
            await hook()
        await lifespan.startup()
    except Exception as error:
        logger.exception("the function failed to restore", reason=_quotable(error))
        await api.fail_restore(
            Fault("Runtime.AfterRestoreError", type(error).__name__, "A hook failed; the log says where.")
        )
        return False
    return True


def _init_fault(error: Exception) -> Fault:
    match error:
        case HandlerNotFound():
            reason = "Runtime.HandlerNotFound"
        case ImportError():
            reason = "Runtime.ImportModuleError"
        case _:
            reason = "Runtime.InitError"
    return Fault(reason, type(error).__name__, "The function failed to initialise; its log says why.")


def _quotable(error: Exception) -> str | None:
    """The text of an error whose text is known to hold no secret."""
    quotable = (ConfigError, HandlerNotFound, ImportError, LifespanFailed, RuntimeApiLost)
    return str(error) if isinstance(error, quotable) else None


def _set_trace(trace_id: str | None) -> None:
    # Where X-Ray's SDK and Powertools look for it.
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


_UNSUPPORTED = Fault(
    "Function.UnsupportedEvent",
    "UnsupportedEvent",
    "This function answers HTTP requests of a function URL or a REST API only.",
)
_INCOMPLETE = Fault(
    "Function.IncompleteResponse",
    "IncompleteResponse",
    "The app returned before its response was complete.",
)


if __name__ == "__main__":
    # Apps register their hooks with the module of this name, and this one is called `__main__`.
    importlib.import_module("shared.lambda_runtime.loop").main()
