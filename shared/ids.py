"""The one form of a UUID that requests may use: 8-4-4-4-12 hexadecimal digits, in either case.

`uuid.UUID` also reads braces, URNs and 32 digits without hyphens. msgspec also reads 32 digits. If an id had
several forms, parts of the project could disagree whether a text is an id.
"""

import re
from typing import Any
from uuid import UUID, uuid5

_CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class RequestId(UUID):
    """A UUID in a request body, as a type for msgspec. `decode_hook` reads it."""

    __slots__ = ()


def parse_uuid(text: str) -> UUID | None:
    """The UUID that `text` is in the canonical form, else None."""
    return UUID(text) if _CANONICAL.fullmatch(text) else None


def decode_hook(type_: type, value: Any) -> Any:
    """msgspec's `dec_hook`: reads a `RequestId`. Raises ValueError, which msgspec reports with the field."""
    if type_ is not RequestId:
        raise NotImplementedError
    if not isinstance(value, str) or not _CANONICAL.fullmatch(value):
        raise ValueError("Invalid UUID")  # msgspec's own message for a UUID
    return RequestId(value)


def derive_conversation_id(user_id: UUID, external_id: str) -> UUID:
    """The id of a conversation for which the client chose `external_id`. It is derived from both ids, so that
    two users can choose the same one."""
    return uuid5(user_id, f"conversation {external_id}")
