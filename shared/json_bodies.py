"""Decodes the JSON body of a request into a msgspec Struct."""

import json
import re
from collections import Counter
from typing import Any, TypeVar

import msgspec

from shared.errors import InvalidRequest
from shared.ids import decode_hook

T = TypeVar("T")

_MAX_NAME = 100  # characters of a field name in an error


def decode(body: bytes, struct: type[T]) -> T:
    """Decodes `body` as `struct`, a msgspec Struct. Raises InvalidRequest.

    Refuses duplicate names in an object, NaN and Infinity, numbers that are sent as text, and NUL
    characters, which Postgres does not store. Ignores unknown names, because some clients send them.
    """
    try:
        # If a name occurs twice in an object, some parsers keep the first value and others the last. Such
        # bodies are refused.
        value = json.loads(body, object_pairs_hook=_checked_object)
        return msgspec.json.decode(body, type=struct, dec_hook=decode_hook)
    except msgspec.ValidationError:
        raise _error(value, struct) from None
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        (duplicate, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidRequest("the body has an object with a duplicate name", field=_safe(duplicate))
    for name, value in pairs:
        texts = value if isinstance(value, list) else [value]
        if any("\0" in text for text in (name, *texts) if isinstance(text, str)):
            raise InvalidRequest("the body has a NUL character in a text", field=_safe(name))
    return members


def _safe(name: str) -> str:
    """A field name that is safe to print: only letters, digits and `_ . [ ] -`; others become `?`."""
    return re.sub(r"[^\w.\[\]-]", "?", name)[:_MAX_NAME]


def _error(value: Any, struct: type[Any]) -> InvalidRequest:
    from shared import validation  # noqa: PLC0415 (imported only for an invalid body)

    # `find_error` returns None only for a very long integer (4,300 digits), which Python accepts and msgspec
    # does not.
    return validation.find_error(value, struct) or InvalidRequest("the body has a number out of range")
