"""The edge of both functions: request ids, the error contract, and bodies that are what they say.

What is wrong with a request is said with the field at fault, in words of our own.
"""

from typing import Any
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared import metrics
from shared.asgi import ASGIApp, Message, Receive, Scope, Send
from shared.cors import Cors, CorsMiddleware
from shared.errors import (
    ChatError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from shared.json_bodies import decode as decode  # noqa: PLC0414 (part of this module)
from shared.logs import logger

MAX_BODY_BYTES = 65_536


def edge(app: ASGIApp, cors: Cors) -> ASGIApp:
    """The app as it meets the world: every answer with its request's id, errors as JSON of the
    contract, and both readable by the pages that may."""
    return _RequestIds(CorsMiddleware(_ErrorAnswers(app), cors))


class _RequestIds:
    """Lambda's id for a request where there is one, so that its logs are found by it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope.get("aws.context")
        request_id = context.aws_request_id if context else str(uuid4())
        logger.thread_safe_clear_keys()
        logger.thread_safe_append_keys(request_id=request_id)
        header = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
            await send(message)

        await self._app(scope, receive, send_with_id)


class _ErrorAnswers:
    """An error after the first byte is raised on, for the server to break the answer off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_see(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        # Starlette's router raises what it cannot route only where it believes an app to be.
        scope.setdefault("app", self)
        try:
            await self._app(scope, receive, send_and_see)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await error_response(_as_chat_error(error))(scope, receive, send)


def error_response(error: ChatError) -> Response:
    return json_response(error.body(), status=error.status, headers=error.headers)


def log_refusal(error: ChatError) -> None:
    """What is the client's fault is the client's to know; what is ours or a provider's is logged, and
    who asks too often is counted."""
    counted = metrics.fault(error.code)
    if counted or error.status >= 500:
        logger.warning("request refused", **metrics.measured(code=error.code, **counted))


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status_code=status, headers=headers, media_type="application/json"
    )


async def read_body(request: Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body, of at most `limit` bytes. Raises UnsupportedMediaType unless it is declared as JSON:
    a page of another origin cannot send that without asking first. Raises TooLarge."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("the body must be application/json")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body must be at most {limit} bytes")
    except ClientDisconnect:
        # Nobody hears this; it keeps who left from looking like a fault of ours.
        raise InvalidRequest("the body broke off") from None
    return bytes(body)


def _as_chat_error(error: Exception) -> ChatError:
    if isinstance(error, ChatError):
        log_refusal(error)
        return error
    if isinstance(error, HTTPException) and error.status_code == 404:
        return NotFound("no such route")
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed("this route has no such method", headers=error.headers)
    logger.exception("request failed", **metrics.measured(faults=1))
    return ChatError("something went wrong here")
