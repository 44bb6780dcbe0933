"""Which part of a list a page is: so many rows after a place, or after a number of rows.

A place is a time and an id, so that rows which come or go elsewhere do not move it.
"""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from shared.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds since the epoch, as exact as Postgres keeps time, and a UUID.
_LAYOUT = struct.Struct(">q16s")


# The places before every row of a list that goes down or up: the first page is like all others.
TOP = ("infinity", UUID(int=2**128 - 1))
BOTTOM = ("-infinity", UUID(int=0))


class Cursor(Struct, frozen=True):
    """The place of a page's last row. Its text is opaque to clients."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        place = _LAYOUT.pack((self.at - _EPOCH) // _MICROSECOND, self.id.bytes)
        return base64.urlsafe_b64encode(place).decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises InvalidRequest for anything that is not a cursor's text."""
        try:
            microseconds, raw_id = _LAYOUT.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=raw_id))
        except (ValueError, OverflowError, binascii.Error, struct.error):
            raise InvalidRequest("cursor must be a next_cursor of an earlier page", field="cursor") from None


class PageRequest(Struct, frozen=True):
    """What is asked for: `limit` rows after the cursor, or else after `offset` rows."""

    limit: int
    offset: int
    cursor: Cursor | None

    def after(self, edge: tuple[str, UUID]) -> tuple[datetime | str, UUID]:
        """The place where the page begins, as Postgres reads it; `edge` is the list's first."""
        return (self.cursor.at, self.cursor.id) if self.cursor else edge
