"""The runtime loop: serves an ASGI app on AWS Lambda, with responses that stream.

The file follows the life of a process: load the app, start it, take the next invocation, turn its event
into an ASGI request, call the app, stream the response, report errors.
"""

import asyncio
import contextlib
import importlib
import json
import os
import random
import signal
import time
from dataclasses import dataclass

from shared.asgi import ASGIApp, Message
from shared.lambda_runtime.events import UnsupportedEvent, http_request
from shared.lambda_runtime.lifespan import Lifespan, LifespanFailed
from shared.lambda_runtime.runtime_api import (
    ErrorReport,
    Invocation,
    RuntimeApi,
    RuntimeApiLost,
    StreamedResponse,
    encode_prelude,
)
from shared.logs import logger
from shared.settings import ConfigError

# Lambda gives 0.5 s between SIGTERM and SIGKILL, and sends no SIGTERM without an extension.
_SHUTDOWN_SECONDS = 0.3


class HandlerNotFound(Exception):
    """The target does not have the form `module:attribute`, or there is no such app."""


@dataclass(frozen=True)
class LambdaContext:
    """The Lambda context, `scope["aws.context"]`. `deadline` is in seconds since the epoch: Lambda kills the
    process then."""

    aws_request_id: str
    invoked_function_arn: str
    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.time()) * 1000))


async def run(target: str, api: RuntimeApi) -> int:
    """Serves the app `target` until SIGTERM or until the Runtime API is lost.

    Returns the exit status of the process. Errors at start go to Lambda and to the log.
    """
    snap_start = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    try:
        app = load_app(target)
        lifespan = Lifespan(app)
        await lifespan.startup()
        if snap_start:
            # Open connections do not survive a snapshot. Each restored process starts the app again.
            await lifespan.shutdown()
    except Exception as error:
        logger.exception("the function failed to initialise", reason=_safe_text(error))
        await api.report_init_error(_init_error(error))
        return 1
    if snap_start:
        try:
            lifespan = await _restore(app, api)
        except Exception as error:
            logger.exception("the function failed to restore", reason=_safe_text(error))
            await api.report_restore_error(_restore_error(error))
            return 1
    return await _serve_until_sigterm(app, api, lifespan)


def load_app(target: str) -> ASGIApp:
    """The app at `package.module:app`, or at `package/module.app`, the form of a Lambda handler.

    Raises HandlerNotFound, and all errors of the module's import.
    """
    module, _, attribute = target.replace("/", ".").rpartition(":" if ":" in target else ".")
    if not module or not attribute:
        raise HandlerNotFound(f"{target!r} is not of the form package.module:app")
    app: ASGIApp | None = getattr(importlib.import_module(module), attribute, None)
    if not callable(app):
        raise HandlerNotFound(f"{module} has no app named {attribute!r}")
    return app


async def _restore(app: ASGIApp, api: RuntimeApi) -> Lifespan:
    """Waits while Lambda takes the snapshot, and starts the app in the restored process."""
    await api.wait_for_restore()
    # Without a new seed, all processes of one snapshot would draw the same numbers.
    random.seed()
    lifespan = Lifespan(app)
    await lifespan.startup()
    return lifespan


async def _serve_until_sigterm(app: ASGIApp, api: RuntimeApi, lifespan: Lifespan) -> int:
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    serving = asyncio.create_task(serve(app, api, lifespan.state))
    terminating = asyncio.create_task(terminated.wait())
    await asyncio.wait({serving, terminating}, return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_SECONDS):
            serving.cancel()
            # A request may ignore the cancellation until the app's shutdown ends its turn.
            await asyncio.wait({serving}, timeout=_SHUTDOWN_SECONDS / 6)
            await lifespan.shutdown()
            await asyncio.wait({serving})
    return 0 if terminated.is_set() else 1


async def serve(app: ASGIApp, api: RuntimeApi, state: dict[str, object]) -> None:
    """Handles one invocation after the other. Returns when the Runtime API is lost.

    `state` is the lifespan state of the app.
    """
    while True:
        try:
            invocation = await api.next_invocation()
        except RuntimeApiLost as error:
            logger.warning("the runtime ends", reason=str(error))
            return
        _set_trace_id(invocation.trace_id)
        await _handle_invocation(app, api, invocation, state)


def _set_trace_id(trace_id: str | None) -> None:
    # X-Ray's SDK and Powertools read this variable.
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


async def _handle_invocation(
    app: ASGIApp, api: RuntimeApi, invocation: Invocation, state: dict[str, object]
) -> None:
    try:
        event = json.loads(invocation.event)
        scope, body = http_request(event)
    except (UnsupportedEvent, ValueError, RecursionError):
        logger.warning("refused an event that is not an HTTP request", request_id=invocation.request_id)
        await api.report_error(invocation, _UNSUPPORTED_EVENT)
        return
    scope["state"] = state.copy()
    scope["aws.event"] = event
    scope["aws.context"] = LambdaContext(invocation.request_id, invocation.function_arn, invocation.deadline)
    cycle = _RequestResponseCycle(api, invocation, body)

    async def call_app() -> None:
        await app(scope, cycle.receive, cycle.send)

    # The app runs in its own task, so that its context variables do not reach the next invocation.
    task = asyncio.create_task(call_app())
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    await cycle.finish(_app_error(task, invocation))


class _RequestResponseCycle:
    """The ASGI request and response of one invocation."""

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
        # Lambda does not report disconnects. The app gets `http.disconnect` when its response is complete.
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start" if self._response is None:
                prelude = encode_prelude(message["status"], message.get("headers", ()))
                self._response = await self._api.start_response(self._invocation, prelude)
            case "http.response.body" if self._response and not self._complete.is_set():
                if body := message.get("body", b""):
                    await self._response.write(body)
                if not message.get("more_body", False):
                    self._response.end()
                    self._complete.set()
            case message_type:
                raise RuntimeError(f"{message_type} is not expected at this point of the response")

    async def finish(self, error: ErrorReport | None) -> None:
        """Tells Lambda how the invocation ended. An error after the whole response is only logged."""
        if self._response is None:
            await self._api.report_error(self._invocation, error or _INCOMPLETE_RESPONSE)
            return
        if not self._complete.is_set():
            self._response.abort(error or _INCOMPLETE_RESPONSE)
        await self._response.wait_until_accepted()


def _app_error(task: asyncio.Task[None], invocation: Invocation) -> ErrorReport | None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return None
    logger.error("the app failed", exc_info=error, request_id=invocation.request_id)
    message = "The function failed; see its log."
    return ErrorReport("Function.Unhandled", type(error).__name__, message)


def _init_error(error: Exception) -> ErrorReport:
    match error:
        case HandlerNotFound():
            reason = "Runtime.HandlerNotFound"
        case ImportError():
            reason = "Runtime.ImportModuleError"
        case _:
            reason = "Runtime.InitError"
    message = "The function failed to initialise; see its log."
    return ErrorReport(reason, type(error).__name__, message)


def _restore_error(error: Exception) -> ErrorReport:
    message = "The function failed to start after the snapshot; see its log."
    return ErrorReport("Runtime.AfterRestoreError", type(error).__name__, message)


def _safe_text(error: Exception) -> str | None:
    """The text of an error, or None if the text may contain a secret."""
    safe = (ConfigError, HandlerNotFound, ImportError, LifespanFailed, RuntimeApiLost)
    return str(error) if isinstance(error, safe) else None


_UNSUPPORTED_EVENT = ErrorReport(
    "Function.UnsupportedEvent",
    "UnsupportedEvent",
    "This function answers HTTP requests of a function URL or a REST API only.",
)
_INCOMPLETE_RESPONSE = ErrorReport(
    "Function.IncompleteResponse",
    "IncompleteResponse",
    "The app returned before its response was complete.",
)
