import pytest
from msgspec import Struct

from shared import http
from shared.errors import InvalidRequest


class Inner(Struct):
    size: int = 0


class Shape(Struct):
    name: str
    inner: Inner | None = None
    words: list[str] = []


def problem(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        http.decode(body, Shape)
    return caught.value.message, caught.value.field


def test_a_body_becomes_its_shape_and_unknown_names_are_left_unread():
    assert http.decode(b'{"name": "a", "more": 1}', Shape) == Shape(name="a")


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
        (b'{"name": 1}', "name must be str", "name"),
        (b'{"name": "a", "inner": {"size": "1"}}', "inner.size must be int", "inner.size"),
        (b'{"name": "a", "words": ["b", 2]}', "words[1] must be str", "words[1]"),
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
