"""The words in which each function describes its routes: what goes in, what comes out, what is refused.

Nothing of it is imported where requests are served; `dev/openapi.py` makes the document of it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from shared.errors import ChatError

# Who may call: a user with a token, anybody without one, or either, where ALLOW_ANONYMOUS is on.
Access: TypeAlias = Literal["user", "anybody", "either"]


class Error(Struct, frozen=True, rename={"user_message": "userMessage"}):
    """`error` says what is wrong, for developers; `code` is for programs, `userMessage` for people;
    `field` is the part of the request at fault, where it is one."""

    error: str
    code: str
    user_message: str
    field: str | UnsetType = UNSET


class Parameter(Struct, frozen=True, kw_only=True):
    """Of the query string, unless it is a header. `type` is msgspec's, with its bounds."""

    name: str
    type: Any
    description: str
    place: Literal["query", "header"] = "query"
    required: bool = False
    default: Any = UNSET


class Body(Struct, frozen=True, kw_only=True):
    """JSON, of the type that validates it, and at most so many bytes."""

    type: Any
    max_bytes: int
    example: Mapping[str, Any] | UnsetType = UNSET


class Reply(Struct, frozen=True, kw_only=True):
    """A good answer. Its JSON is of one of the `types`; without any it is text, or nothing at all where
    there is no `media_type`. `headers` are there always, `maybe_headers` sometimes."""

    description: str
    types: tuple[Any, ...] = ()
    media_type: str | None = "application/json"
    headers: tuple[str, ...] = ()
    maybe_headers: tuple[str, ...] = ()


class Events(Reply, frozen=True, kw_only=True):
    """A stream: each event's data is JSON of one of the `types`, or the `last_words` of a good stream.
    `names` are those of the events, where they have some, `ids` whether they have ids."""

    media_type: str | None = "text/event-stream"
    names: tuple[str, ...] = ()
    ids: bool = False
    last_words: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path, whose `{id}` is of `id_type`. `replies` are by status, one for each media
    type. `errors` are those that do not follow from the rest, which `dev/openapi.py` adds."""

    name: str
    method: Literal["get", "post", "patch", "delete"]
    path: str
    tag: str
    summary: str
    replies: Mapping[int, tuple[Reply, ...]]
    description: str = ""
    access: Access = "user"
    id_type: Any = UUID
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[type[ChatError], ...] = ()
    error_type: Any = Error


# Text that has something in it beside white space. Said for the description: the routes look themselves.
NotBlank: TypeAlias = Annotated[str, Meta(min_length=1, extra_json_schema={"pattern": r"\S"})]
