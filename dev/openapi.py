"""Generates the OpenAPI 3.1 document of both functions from the endpoints of their routes.

It adds the parts that are the same for every endpoint: the tokens, and the errors that follow from the
parameters and the body. `make build` writes the document into the bundle of the conversations function.
`make run` and `make lambda` write it into `.local`.
"""

import inspect
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.routing import Router

from dev.openapi_types import Types, load_types
from functions.chat_stream import app as chat_stream
from functions.conversations import app as conversations
from shared.endpoint_route import EndpointRoute
from shared.endpoints import Body, Endpoint, EventStream, Reply
from shared.errors import (
    ChatError,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from shared.parameters import Parameter
from shared.settings import load_settings

_ROOT = Path(__file__).parent.parent
# The routes do not depend on the settings. This module does not connect to the database.
_ENVIRON = {"DATABASE_URL": "postgresql://127.0.0.1/none", "JWT_SECRET": "x" * 32}

_INTRODUCTION = """Streaming chat with a Postgres database.

Users see only their own resources. Resources of other users return 404. In a body, unknown names are ignored,
a repeated name is refused, and no text may have a NUL character. Times are ISO 8601 in UTC. Money is a
decimal string in USD. Whole numbers are written without a fraction."""
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The claim `sub` is the user. Where the token is optional, it may be left out only if the"
    " deployment sets ALLOW_ANONYMOUS.",
}
_TOKEN: dict[str, list[str]] = {"token": []}
_SECURITY: Mapping[str, list[dict[str, list[str]]]] = {"public": [], "optional": [_TOKEN, {}]}

_TEXT = {"type": "string"}
_DIGITS = {"type": "string", "pattern": "^[0-9]+$"}
_UUID = {"type": "string", "format": "uuid"}
_HEADERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "X-Request-Id": ("The id of this request in the logs.", _TEXT),
    "X-Message-Id": ("The id of the answer's message.", _UUID),
    "X-Model": ("The model that answers, as `provider/model`.", _TEXT),
    "X-Conversation-Id": ("The id of the conversation, if the turn is stored.", _UUID),
    "RateLimit": ("The remaining requests, and the seconds until there are more.", _TEXT),
    "RateLimit-Policy": ("The number of requests that are allowed, and in how many seconds.", _TEXT),
    "Retry-After": ("The number of seconds to wait before the next try.", _DIGITS),
    "WWW-Authenticate": ("The scheme of the token, which is `Bearer`.", _TEXT),
    "Content-Disposition": ("The name of the file, for a download.", _TEXT),
    "Cache-Control": ("The response must not be stored in a cache.", _TEXT),
}
_ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {401: ("WWW-Authenticate",), 429: ("Retry-After",)}
# Headers that some errors with this status have.
_OPTIONAL_ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {409: ("Retry-After",)}


class Error(Struct, frozen=True, rename={"user_message": "userMessage"}):
    """`error` describes the error for developers, `code` is for programs and `userMessage` for users.
    `field` is the part of the request that is wrong, if it is one part."""

    error: str
    code: str
    user_message: str
    field: str | UnsetType = UNSET


def write(path: Path) -> None:
    """Writes the document atomically: a concurrent reader gets the old or the new document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}")
    temporary.write_bytes(render())
    temporary.replace(path)


def endpoints() -> list[Endpoint]:
    """The endpoints of both functions, in the order of their routes."""
    settings = load_settings(_ENVIRON)
    routers = (chat_stream.create_router(settings), conversations.create_router(settings))
    return [endpoint for router in routers for endpoint in _endpoints(router)]


def _endpoints(router: Router) -> Iterator[Endpoint]:
    for route in router.routes:
        if not isinstance(route, EndpointRoute):
            raise TypeError(f"the route is not an EndpointRoute: {route}")
        yield from route.endpoints


def render() -> bytes:
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


def document() -> dict[str, Any]:
    described = endpoints()
    types = Types(described, Error)
    paths: dict[str, Any] = {}
    for endpoint in described:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, types)
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": project["name"],
            "version": project["version"],
            "license": {"name": project["license"], "identifier": project["license"]},
            "description": _INTRODUCTION,
        },
        "servers": [{"url": "/"}],
        "security": [_TOKEN],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "responses": {
                name: _refusal(_error_type(endpoint), status, codes, types)
                for endpoint in described
                for status, (name, codes) in _refusals(endpoint).items()
            },
            "headers": {name: _header(name) | {"required": True} for name in _HEADERS},
            "securitySchemes": {"token": _SCHEME},
        },
    }


def _operation(endpoint: Endpoint, types: Types) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
    }
    if endpoint.description:
        described["description"] = endpoint.description
    if endpoint.access in _SECURITY:
        described["security"] = _SECURITY[endpoint.access]
    if endpoint.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.body:
        described["requestBody"] = _body(endpoint.body, types)
    statuses = dict.fromkeys(reply.status for reply in endpoint.replies)
    replies = {
        str(status): _replies([reply for reply in endpoint.replies if reply.status == status], types)
        for status in statuses
    }
    described["responses"] = replies | {
        str(status): {"$ref": f"#/components/responses/{name}"}
        for status, (name, _) in _refusals(endpoint).items()
    }
    return described


def _parameter(parameter: Parameter[Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.schema(),
    }


def _body(body: Body[Any], types: Types) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": types.schema(body.type) | dict(body.constraints or {})}
    if body.example is not None:
        content["example"] = body.example
    return {
        "description": f"A JSON object of at most {body.max_bytes:,} bytes.",
        "required": True,
        "content": {"application/json": content},
    }


def _replies(replies: Sequence[Reply], types: Types) -> dict[str, Any]:
    """The replies with one status. They have different media types."""
    always = [name for name in _HEADERS if all(name in reply.headers for reply in replies)]
    sometimes = {
        name: _header(name) for reply in replies for name in (*reply.headers, *reply.optional_headers)
    }
    described: dict[str, Any] = {
        "description": "\n\n".join(dict.fromkeys(_description(reply) for reply in replies)),
        "headers": sometimes | _headers("X-Request-Id", *always),
    }
    content = {reply.media_type: {"schema": _content(reply, types)} for reply in replies if reply.media_type}
    return described | ({"content": content} if content else {})


def _description(reply: Reply) -> str:
    format_docs = inspect.cleandoc(reply.format_docs) if isinstance(reply, EventStream) else ""
    return f"{reply.description}\n\n{format_docs}" if format_docs else reply.description


def _content(reply: Reply, types: Types) -> dict[str, Any]:
    reply_types = load_types(reply.types)
    if not isinstance(reply, EventStream):
        return types.one_of(reply_types) if reply_types else _TEXT
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": types.one_of(reply_types),
    }
    properties = {"data": {"anyOf": [data, {"const": reply.last_data}]} if reply.last_data else data}
    if reply.event_names:
        properties["event"] = {"enum": [*reply.event_names]}
    if reply.has_ids:
        properties["id"] = {"type": "string", "pattern": r"^[0-9]+(\.end)?$"}
    return {
        "description": "One event of the stream.",
        "type": "object",
        "properties": properties,
        "required": ["data"],
    }


def _refusals(endpoint: Endpoint) -> dict[int, tuple[str, list[str]]]:
    """The errors by status: the name of the response component, and the possible codes."""
    errors: dict[int, list[type[ChatError]]] = {}
    for error in (*_implied_errors(endpoint), *endpoint.errors):
        errors.setdefault(endpoint.statuses.get(error.code, error.status), []).append(error)
    return {status: (_name(endpoint, same), _codes(same)) for status, same in sorted(errors.items())}


def _name(endpoint: Endpoint, errors: Iterable[type[ChatError]]) -> str:
    names = "Or".join(error.__name__ for error in errors)
    error_type = _error_type(endpoint)
    return names if error_type is Error else f"{names}As{error_type.__name__}"


def _error_type(endpoint: Endpoint) -> Any:
    return endpoint.error_type() if endpoint.error_type else Error


def _codes(errors: Iterable[type[ChatError]]) -> list[str]:
    kinds = [
        kind
        for error in errors
        for kind in (error, *(error.__subclasses__() if error is not ChatError else ()))
    ]
    return list(dict.fromkeys(kind.code for kind in kinds))


def _implied_errors(endpoint: Endpoint) -> Iterator[type[ChatError]]:
    if endpoint.access != "public":
        yield Unauthorized
    if endpoint.body or any(parameter.place != "path" for parameter in endpoint.parameters):
        yield InvalidRequest
    if endpoint.body:
        yield TooLarge
        yield UnsupportedMediaType
    if "{id}" in endpoint.path:
        yield NotFound
    yield ChatError
    yield Unavailable


def _refusal(type_: Any, status: int, codes: list[str], types: Types) -> dict[str, Any]:
    code = {"properties": {"code": {"enum": codes}}}
    schema = {"allOf": [types.schema(type_), code if type_ is Error else {"properties": {"error": code}}]}
    return {
        "description": f"The request is refused with the code {' or '.join(codes)}.",
        "headers": {name: _header(name) for name in _OPTIONAL_ERROR_HEADERS.get(status, ())}
        | _headers("X-Request-Id", *_ERROR_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": schema}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header(name: str) -> dict[str, Any]:
    description, schema = _HEADERS[name]
    return {"description": description, "schema": schema}
