"""`make openapi`: the description of both functions as OpenAPI 3.1, into the file that is served.

To what each function says of its routes it adds what goes without saying: who may ask, and what is
refused everywhere.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from dev.local import ROOT
from dev.openapi_types import Types
from functions.chat_stream import openapi as chat_stream
from functions.conversations import openapi as conversations
from shared.errors import (
    ChatError,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from shared.openapi import Error, Events, Operation, Parameter, Reply

PATH = ROOT / "functions" / "conversations" / "openapi.json"
OPERATIONS = (*chat_stream.OPERATIONS, *conversations.OPERATIONS)

_INTRODUCTION = """Streaming chat beside Postgres.

Users see what is theirs: another user's thing is as little there as one that does not exist. In a body,
names that are not known are left unread, none may come twice, and no text has a NUL character. Times are
ISO 8601 in UTC, money is a decimal string in USD. A whole number is written without a fraction."""
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Its `sub` is the user. Where it is optional, it is so with ALLOW_ANONYMOUS alone.",
}
_TOKEN: dict[str, list[str]] = {"token": []}
_SECURITY: Mapping[str, list[dict[str, list[str]]]] = {"anybody": [], "either": [_TOKEN, {}]}

_TEXT = {"type": "string"}
_DIGITS = {"type": "string", "pattern": "^[0-9]+$"}
_UUID = {"type": "string", "format": "uuid"}
_HEADERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "X-Request-Id": ("Names this request in the logs.", _TEXT),
    "X-Message-Id": ("The answer's id.", _UUID),
    "X-Conversation-Id": ("The conversation's id, where the turn is stored.", _UUID),
    "RateLimit": ("What is left, and in how many seconds there is more.", _TEXT),
    "RateLimit-Policy": ("How many requests in how many seconds.", _TEXT),
    "Retry-After": ("In so many seconds there is room again.", _DIGITS),
    "WWW-Authenticate": ("`Bearer`.", _TEXT),
    "Content-Disposition": ("The name of the file.", _TEXT),
    "Cache-Control": ("It is not to be kept.", _TEXT),
}
_ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {401: ("WWW-Authenticate",), 429: ("Retry-After",)}


def render() -> bytes:
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


def document() -> dict[str, Any]:
    types = Types(OPERATIONS)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, types)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
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
                name: _refusal(operation.error_type, status, codes, types)
                for operation in OPERATIONS
                for status, (name, codes) in _refusals(operation).items()
            },
            "headers": {name: _header(name) | {"required": True} for name in _HEADERS},
            "securitySchemes": {"token": _SCHEME},
        },
    }


def _operation(operation: Operation, types: Types) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.access in _SECURITY:
        described["security"] = _SECURITY[operation.access]
    parameters = [_parameter(parameter, types) for parameter in operation.parameters]
    if "{id}" in operation.path:
        schema = types.schema(operation.id_type)
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": schema})
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content: dict[str, Any] = {"schema": types.schema(operation.body.type)}
        if operation.body.example is not UNSET:
            content["example"] = operation.body.example
        described["requestBody"] = {
            "description": f"At most {operation.body.max_bytes:,} bytes.",
            "required": True,
            "content": {"application/json": content},
        }
    replies = {str(status): _replies(same, types) for status, same in operation.replies.items()}
    described["responses"] = replies | {
        str(status): {"$ref": f"#/components/responses/{name}"}
        for status, (name, _) in _refusals(operation).items()
    }
    return described


def _parameter(parameter: Parameter, types: Types) -> dict[str, Any]:
    schema = types.schema(parameter.type)
    if parameter.default is not UNSET:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": schema,
    }


def _replies(replies: Sequence[Reply], types: Types) -> dict[str, Any]:
    """Those of one status, which are of different media types."""
    always = [name for name in _HEADERS if all(name in reply.headers for reply in replies)]
    sometimes = {name: _header(name) for reply in replies for name in (*reply.headers, *reply.maybe_headers)}
    described: dict[str, Any] = {
        "description": "\n\n".join(dict.fromkeys(reply.description for reply in replies)),
        "headers": sometimes | _headers("X-Request-Id", *always),
    }
    content = {reply.media_type: {"schema": _content(reply, types)} for reply in replies if reply.media_type}
    return described | ({"content": content} if content else {})


def _content(reply: Reply, types: Types) -> dict[str, Any]:
    if not isinstance(reply, Events):
        return types.one_of(reply.types) if reply.types else _TEXT
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": types.one_of(reply.types),
    }
    properties = {"data": {"anyOf": [data, {"const": reply.last_words}]} if reply.last_words else data}
    if reply.names:
        properties["event"] = {"enum": [*reply.names]}
    if reply.ids:
        properties["id"] = _DIGITS
    return {
        "description": "One event of the stream.",
        "type": "object",
        "properties": properties,
        "required": ["data"],
    }


def _refusals(operation: Operation) -> dict[int, tuple[str, list[str]]]:
    """What may be refused, by status: the name of the response, and the codes that may be the reason."""
    errors: dict[int, list[type[ChatError]]] = {}
    for error in (*_obvious_errors(operation), *operation.errors):
        errors.setdefault(error.status, []).append(error)
    return {status: (_name(operation, same), _codes(same)) for status, same in sorted(errors.items())}


def _name(operation: Operation, errors: Iterable[type[ChatError]]) -> str:
    names = "Or".join(error.__name__ for error in errors)
    return names if operation.error_type is Error else f"{names}As{operation.error_type.__name__}"


def _codes(errors: Iterable[type[ChatError]]) -> list[str]:
    kinds = [
        kind
        for error in errors
        for kind in (error, *(error.__subclasses__() if error is not ChatError else ()))
    ]
    return list(dict.fromkeys(kind.code for kind in kinds))


def _obvious_errors(operation: Operation) -> Iterator[type[ChatError]]:
    if operation.access != "anybody":
        yield Unauthorized
    if operation.parameters or operation.body:
        yield InvalidRequest
    if operation.body:
        yield TooLarge
        yield UnsupportedMediaType
    if "{id}" in operation.path:
        yield NotFound
    yield ChatError
    yield Unavailable


def _refusal(type_: Any, status: int, codes: list[str], types: Types) -> dict[str, Any]:
    code = {"properties": {"code": {"enum": codes}}}
    schema = {"allOf": [types.schema(type_), code if type_ is Error else {"properties": {"error": code}}]}
    return {
        "description": f"Refused: {' or '.join(codes)}.",
        "headers": _headers("X-Request-Id", *_ERROR_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": schema}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header(name: str) -> dict[str, Any]:
    description, schema = _HEADERS[name]
    return {"description": description, "schema": schema}


def main() -> int:
    PATH.write_bytes(render())
    print(f"wrote {PATH.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
