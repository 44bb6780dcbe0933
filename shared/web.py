"""Code that both functions use for each request: middleware, JSON responses, errors and request bodies."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared import metrics
from shared.asgi import ASGIApp, Message, Receive, Scope, Send
from shared.cors import Cors, Header
from shared.errors import (
    ChatError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from shared.logs import logger

MAX_BODY_BYTES = 65_536


def with_middleware(app: ASGIApp, cors: Cors) -> ASGIApp:
    """Wraps an app so that every response has CORS headers and an `X-Request-Id`, and every error is JSON.

    On Lambda the request id is Lambda's own, so that the app's log lines and Lambda's can be matched.
    Preflights are answered here. It is plain ASGI and buffers nothing. An error after the response has
    started is raised again, so that the server closes the connection.
    """

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        context = scope.get("aws.context")
        request_id = context.aws_request_id if context else str(uuid4())
        logger.thread_safe_clear_keys()
        logger.thread_safe_append_keys(request_id=request_id)
        request_headers = dict(scope["headers"])
        origin = request_headers[b"origin"].decode("latin-1") if b"origin" in request_headers else None
        is_preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in request_headers
        response: ASGIApp = app
        extra_headers = [(b"x-request-id", request_id.encode())]
        if is_preflight and origin is not None:
            response = Response(status_code=204)
            extra_headers += cors.preflight_headers(origin)
        else:
            extra_headers += cors.headers(origin)
        response_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                message = {**message, "headers": _merge_headers(message.get("headers", ()), extra_headers)}
            await send(message)

        # Starlette's router raises HTTPException for an unknown route only if the scope has `app`; else it
        # sends a text response.
        scope.setdefault("app", app)
        try:
            await response(scope, receive, send_with_headers)
        except Exception as error:
            if response_started:
                raise
            await error_response(_as_chat_error(error))(scope, receive, send_with_headers)

    return middleware


def _merge_headers(headers: Iterable[Header], extra_headers: Sequence[Header]) -> list[Header]:
    """Both lists, with all `Vary` values in one header: a Lambda response can have only one value for each
    header."""
    headers = list(headers)
    vary = [value for name, value in headers if name.lower() == b"vary"]
    if not vary:
        return [*headers, *extra_headers]
    vary += [value for name, value in extra_headers if name == b"vary"]
    others = [header for header in (*headers, *extra_headers) if header[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join(vary))]


def error_response(error: ChatError) -> Response:
    return json_response(error.body(), status=error.status, headers=error.headers)


def log_error(error: ChatError) -> None:
    """Logs errors with a status of 500 or more, and errors that a metric counts (rate limit, budget). Other
    errors of clients are not logged."""
    metric = metrics.error_metric(error.code)
    if metric or error.status >= 500:
        logger.warning("request refused", **metrics.with_metrics(code=error.code, **metric))


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status_code=status, headers=headers, media_type="application/json"
    )


async def read_body(request: Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """Reads a body of at most `limit` bytes. Raises TooLarge.

    Raises UnsupportedMediaType unless the content type is application/json: browsers send JSON to another
    origin only after a preflight.
    """
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
        # The client has disconnected and gets no response. With this error the disconnect is not logged as a
        # fault.
        raise InvalidRequest("the request body ended early") from None
    return bytes(body)


def _as_chat_error(error: Exception) -> ChatError:
    if isinstance(error, ChatError):
        log_error(error)
        return error
    if isinstance(error, HTTPException) and error.status_code == 404:
        return NotFound("no such route")
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed("this route does not allow this method", headers=error.headers)
    logger.exception("request failed", **metrics.with_metrics(faults=1))
    return ChatError("internal error")
