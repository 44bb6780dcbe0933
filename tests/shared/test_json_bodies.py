from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from shared.errors import InvalidRequest
from shared.ids import RequestId
from shared.json_bodies import decode


class Inner(Struct):
    size: Annotated[int, Meta(ge=0, le=5)] = 0


class Shape(Struct):
    name: str
    inner: Inner | None = None
    words: Annotated[list[str], Meta(min_length=1)] | None = None
    share: Annotated[float, Meta(gt=0, le=2)] = 1.0
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    kind: Literal["square", "round"] = "round"
    id: RequestId | None = None


def error_of(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, Shape)
    return caught.value.message, caught.value.field


def test_unknown_fields_are_ignored():
    assert decode(b'{"name": "a", "more": 1}', Shape) == Shape(name="a")


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
        (b'{"name": "a", "inner": {"size": "1"}}', "inner.size must be an integer from 0 to 5", "inner.size"),
        (b'{"name": "a", "inner": {"size": 6}}', "inner.size must be an integer from 0 to 5", "inner.size"),
        (b'{"name": "a", "inner": 1}', "inner must be an object", "inner"),
        (b'{"name": "a", "words": ["b", 2]}', "words[1] must be a string", "words[1]"),
        (b'{"name": "a", "words": []}', "words must be an array of at least 1 items", "words"),
        (
            b'{"name": "a", "share": 2.5}',
            "share must be a number that is greater than 0 and at most 2",
            "share",
        ),
        (b'{"name": "a", "code": "A"}', "code must be a string that matches ^[a-z]+$", "code"),
        (b'{"name": "a", "kind": "<oval>"}', "kind must be one of square, round", "kind"),
        (b'{"name": "a", "id": "one"}', "id must be a UUID", "id"),
        (
            b'{"name": "a", "inner": {"size": 1, "size": 2}}',
            "the body has an object with a duplicate name",
            "size",
        ),
        (b'{"name": "a\\u0000"}', "the body has a NUL character in a text", "name"),
        (b'{"name": "a", "words": ["\\u0000"]}', "the body has a NUL character in a text", "words"),
        (b'{"name": "a", "\\u0000": 1}', "the body has a NUL character in a text", "?"),
    ],
)
def test_an_error_names_the_field_and_its_type(body, message, field):
    assert error_of(body) == (message, field)


def test_an_error_does_not_repeat_markup_of_the_body():
    message, field = error_of(b'{"name": "a", "<script>\\n": 1, "<script>\\n": 2}')
    assert "<" not in message
    assert field == "?script??"
