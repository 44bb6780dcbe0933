import asyncio
from typing import Annotated, Literal
from uuid import UUID

import pytest
from msgspec import Meta, Struct
from starlette.requests import Request

from shared import web
from shared.errors import InvalidRequest


class Inner(Struct):
    size: Annotated[int, Meta(ge=0, le=5)] = 0


class Shape(Struct):
    name: str
    inner: Inner | None = None
    words: Annotated[list[str], Meta(min_length=1)] | None = None
    share: Annotated[float, Meta(gt=0, le=2)] = 1.0
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    kind: Literal["round", "square"] = "round"
    id: UUID | None = None


def problem(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        web.decode(body, Shape)
    return caught.value.message, caught.value.field


def test_a_body_becomes_its_shape_and_unknown_names_are_left_unread():
    assert web.decode(b'{"name": "a", "more": 1}', Shape) == Shape(name="a")


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        (b"{", "the body is not valid JSON", None),
        (b'{"name": Infinity}', "the body is not valid JSON", None),
        (b"[" * 100_000, "the body is not valid JSON", None),
        (b'{"name": "\xff"}', "the body is not valid JSON", None),
        (b"1" * 5000, "the body is not valid JSON", None),
        (b"[]", "the body must be a JSON object", None),
        (b"{}", "name is missing", "name"),
        (b'{"name": 1}', "name must be a string", "name"),
        (b'{"name": "a", "inner": {"size": "1"}}', "inner.size must be an integer", "inner.size"),
        (b'{"name": "a", "words": ["b", 2]}', "words[1] must be a string", "words[1]"),
        (b'{"name": "a", "inner": {"size": 6}}', "inner.size must be an integer <= 5", "inner.size"),
        (b'{"name": "a", "inner": 1}', "inner must be an object or null", "inner"),
        (b'{"name": "a", "words": []}', "words must be an array of length >= 1", "words"),
        (b'{"name": "a", "share": 2.5}', "share must be a number <= 2", "share"),
        (b'{"name": "a", "code": "A"}', "code must be a string that matches '^[a-z]+$'", "code"),
        (b'{"name": "a", "kind": "<oval>"}', "kind has none of its possible values", "kind"),
        (b'{"name": "a", "id": "one"}', "id must be a UUID", "id"),
        (
            b'{"name": "a", "inner": {"size": 1, "size": 2}}',
            "the body has a name twice in one object",
            "size",
        ),
        (b'{"name": "a\\u0000"}', "the body has a NUL character in a text", "name"),
        (b'{"name": "a", "words": ["\\u0000"]}', "the body has a NUL character in a text", "words"),
        (b'{"name": "a", "\\u0000": 1}', "the body has a NUL character in a text", "?"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(body, message, field):
    assert problem(body) == (message, field)


def test_nothing_of_the_body_is_in_what_is_said():
    message, field = problem(b'{"name": "a", "<script>\\n": 1, "<script>\\n": 2}')
    assert "<" not in message
    assert "<" not in (field or "")


def test_a_client_that_leaves_in_its_body_is_no_fault_of_ours():
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(InvalidRequest, match="broke off"):
        asyncio.run(web.read_body(Request(scope, receive)))
