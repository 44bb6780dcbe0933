"""What a request says beside its body: who asks, which thing, which page. Strict, with the field named."""

import re
from typing import TypeVar
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request

from functions.conversations.paging import Cursor, PageRequest
from shared import logs
from shared.auth import Identity, TokenVerifier
from shared.errors import Forbidden, InvalidRequest, NotFound

Choice = TypeVar("Choice", bound=str)

# One spelling for one thing; `uuid.UUID` also reads braces, URNs and bare hex.
_UUID = re.compile(r"(?i:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


class Range(Struct, frozen=True):
    """A whole number in a query string: what it is where nothing is said, and what it may be."""

    default: int
    at_least: int
    at_most: int


OFFSET = Range(0, 0, 1_000_000_000)


async def caller(request: Request, verifier: TokenVerifier) -> Identity:
    """Raises Unauthorized, or Forbidden where the query string names another user."""
    identity = await verifier.verify(request.headers.get("authorization"))
    logs.mark_user(identity.user_id)
    named = parameter(request, "user_id")
    if named is not None and named.lower() != str(identity.user_id) and named != identity.subject:
        raise Forbidden("user_id is not the caller's own")
    return identity


def check_own(user_id: UUID | None, identity: Identity) -> None:
    """For bodies that may say whose they are. Raises Forbidden."""
    if user_id not in {None, identity.user_id}:
        raise Forbidden("user_id is not the caller's own")


def parameter(request: Request, name: str) -> str | None:
    """Raises InvalidRequest for one that is there twice: somebody else may have read the other."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"{name} is there more than once", field=name)
    return values[0] if values else None


def path_id(request: Request, kind: str) -> UUID:
    """The `{id}` of a path. What cannot be an id is as little there as what has none: NotFound."""
    return as_id(request.path_params["id"], kind)


def as_id(text: str, kind: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise NotFound(f"no such {kind}")
    return UUID(text)


def number(request: Request, name: str, allowed: Range) -> int:
    text = parameter(request, name)
    if text is None:
        return allowed.default
    least, most = allowed.at_least, allowed.at_most
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not least <= int(text) <= most:
        raise InvalidRequest(f"{name} must be a whole number from {least} to {most}", field=name)
    return int(text)


def choice(request: Request, name: str, choices: tuple[Choice, ...]) -> Choice:
    """One of them; the first where nothing is said."""
    text = parameter(request, name)
    for one in choices:
        if text in {None, one}:
            return one
    raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)


def window(request: Request, limit: Range) -> PageRequest:
    cursor = parameter(request, "cursor")
    if cursor is not None and parameter(request, "offset") is not None:
        raise InvalidRequest("cursor and offset exclude each other", field="cursor")
    return PageRequest(
        limit=number(request, "limit", limit),
        offset=number(request, "offset", OFFSET),
        cursor=None if cursor is None else Cursor.parse(cursor),
    )
