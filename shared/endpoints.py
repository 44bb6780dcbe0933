"""The declaration of an endpoint: its route, its parameters, its body, its replies and its errors.

The declaration stands beside the handler. It parses requests, and `dev/openapi.py` makes the OpenAPI document
from it.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from msgspec import Struct

from shared.errors import ChatError
from shared.parameters import Parameter

T = TypeVar("T")

Method: TypeAlias = Literal["GET", "POST", "PATCH", "DELETE"]
# `user`: a token is required. `public`: no token is needed. `optional`: the token is optional if
# ALLOW_ANONYMOUS is on.
Access: TypeAlias = Literal["user", "public", "optional"]
# A function that imports and returns types that only the OpenAPI document needs.
LazyTypes: TypeAlias = Callable[[], tuple[Any, ...]]

RATE_LIMIT_HEADERS = ("RateLimit", "RateLimit-Policy")


class Body(Struct, Generic[T], frozen=True, kw_only=True, eq=False):
    """A JSON body: the msgspec type that decodes it and its maximum size.

    `example` and `constraints` (members of the JSON Schema that the type cannot express) are for OpenAPI.
    """

    type: type[T]
    max_bytes: int
    example: Mapping[str, Any] | None = None
    constraints: Mapping[str, Any] | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """A successful response.

    `types`: the msgspec types of its JSON body. Without types the body is text.
    `media_type`: None for a response without a body.
    `headers` are always present, `optional_headers` are not.
    """

    description: str
    status: int = 200
    types: tuple[Any, ...] | LazyTypes = ()
    media_type: str | None = "application/json"
    headers: tuple[str, ...] = ()
    optional_headers: tuple[str, ...] = ()


class EventStream(Reply, frozen=True, kw_only=True):
    """A response of Server-Sent Events.

    The data of each event is JSON of one of `types`, or `last_data` at the end of a complete answer.
    `event_names`: the values of `event`, if events have names. `has_ids`: events have an `id`.
    `format_docs`: the docstring of the module that writes the events; the description ends with it.
    """

    media_type: str | None = "text/event-stream"
    event_names: tuple[str, ...] = ()
    has_ids: bool = False
    last_data: str | None = None
    format_docs: str = ""


class Endpoint(Struct, frozen=True, kw_only=True, eq=False):
    """One method of one path.

    `parameters`: all parameters that the handler reads. A path with `{id}` has a parameter `id`.
    `errors`: the errors of this endpoint. Errors that follow from other fields are added by `dev/openapi.py`.
    `error_type`: returns the type of an error's JSON, if it is not the error contract of `shared/errors.py`.
    `statuses`: the statuses of error codes that have another status here.
    """

    method: Method
    path: str
    operation_id: str
    tag: str
    summary: str
    replies: tuple[Reply, ...]
    description: str = ""
    access: Access = "user"
    parameters: tuple[Parameter[Any], ...] = ()
    body: Body[Any] | None = None
    errors: tuple[type[ChatError], ...] = ()
    error_type: Callable[[], Any] | None = None
    statuses: Mapping[str, int] = {}


def summary_and_description(docstring: str | None) -> tuple[str, str]:
    """The first paragraph of a docstring, without its full stop, and the others, each on one line."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    summary, *others = (" ".join(paragraph.split()) for paragraph in paragraphs)
    return summary.removesuffix("."), "\n\n".join(others)
