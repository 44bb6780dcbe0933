"""What both functions do with every request: middleware, JSON responses, errors, and request bodies."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared import ids, metrics
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

T = TypeVar("T")

MAX_BODY_BYTES = 65_536


def with_middleware(app: ASGIApp, cors: Cors) -> ASGIApp:
    """Wraps an app so that every response has CORS headers and an `X-Request-Id`, and every error is JSON.

    The request id is Lambda's where there is one, so that the logs of both can be joined. Preflights are
    answered here. Plain ASGI, and nothing is buffered. An error after the response has started is raised
    again, so that the server breaks the response off.
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
        added = [(b"x-request-id", request_id.encode())]
        if is_preflight and origin is not None:
            response = Response(status_code=204)
            added += cors.preflight_headers(origin)
        else:
            added += cors.headers(origin)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _joined(message.get("headers", ()), added)}
            await send(message)

        # Starlette's router raises what it cannot route only where it believes an app to be.
        scope.setdefault("app", app)
        try:
            await response(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            await error_response(_as_chat_error(error))(scope, receive, send_with_headers)

    return middleware


def _joined(headers: Iterable[Header], added: Sequence[Header]) -> list[Header]:
    """Both lists, with one `Vary`: a response of Lambda holds one value for each name."""
    headers = list(headers)
    vary = [value for name, value in headers if name.lower() == b"vary"]
    if not vary:
        return [*headers, *added]
    vary += [value for name, value in added if name == b"vary"]
    others = [header for header in (*headers, *added) if header[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join(vary))]


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


def decode(body: bytes, shape: type[T]) -> T:
    """A body as `shape`, a msgspec Struct. Strict: no duplicate names, NaN, numbers as text or text
    with NUL. Unknown names are left unread, as existing clients send some. Raises InvalidRequest."""
    try:
        # Two parsers may see two different values under one name, and so two different requests.
        json.loads(body, object_pairs_hook=_without_duplicates)
        return msgspec.json.decode(body, type=shape, dec_hook=ids.decode_hook)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest("the body has a name twice in one object", field=_safe(twice))
    for name, value in pairs:
        texts = value if isinstance(value, list) else [value]
        if any("\0" in text for text in (name, *texts) if isinstance(text, str)):
            raise InvalidRequest("the body has a NUL character in a text", field=_safe(name))
    return found


def _safe(name: str) -> str:
    return re.sub(r"[^\w.\[\]-]", "?", name)[:100]


def _explain(problem: str) -> InvalidRequest:
    """msgspec's finding in the contract's words, without anything of the body in it."""
    where = re.search(r" - at `(?:key in )?\$\.?([^`]*)`$", problem)
    field = where[1] if where else ""
    missing = re.match(r"Object missing required field `([^`]*)`", problem)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
        return InvalidRequest(f"{field} is missing", field=field)
    if not field:
        return InvalidRequest("the body must be a JSON object")
    return InvalidRequest(f"{field} {_wanted(problem)}", field=field)


# JSON's words for what msgspec names as Python does.
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


def _wanted(problem: str) -> str:
    """What would have been right, with its bounds. Only a type's own words are taken from the finding."""
    expected = re.match(
        r"Expected `([^`]*)`( of length)?(?: ([<>]=?) (\S+)| matching regex (.+?) - at)?", problem
    )
    if not expected:
        return "must be a UUID" if problem.startswith("Invalid UUID") else "has none of its possible values"
    types, length, sign, bound, pattern = expected.groups()
    kinds = " or ".join(_KINDS.get(kind, kind) for kind in types.split(" | "))
    if pattern:
        return f"must be {kinds} that matches {pattern}"
    return f"must be {kinds}" + (f"{length or ''} {sign} {bound.removesuffix('.0')}" if bound else "")


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
