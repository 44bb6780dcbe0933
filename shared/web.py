"""The edge of both functions: request ids, the error contract, and bodies that are what they say.

What is wrong with a request is said with the field at fault, in words of our own.
"""

import json
import re
from typing import Any, TypeVar
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
from shared.logs import logger

T = TypeVar("T")

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


def decode(body: bytes, shape: type[T]) -> T:
    """A body as `shape`, a msgspec Struct. Strict: no duplicate names, NaN, numbers as text or text
    with NUL. Unknown names are left unread, as existing clients send some. Raises InvalidRequest."""
    try:
        # Two parsers may see two different values under one name, and so two different requests.
        json.loads(body, object_pairs_hook=_without_duplicates)
        return msgspec.json.decode(body, type=shape)
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
