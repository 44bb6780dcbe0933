"""Pages of a list. A page begins after a cursor, or after a number of rows.

A cursor is the time and the id of a row, so that inserted and deleted rows do not shift the next page.
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
# Microseconds since the epoch, which is the precision of Postgres, and a UUID.
_LAYOUT = struct.Struct(">q16s")


# The positions before the first row of a descending and of an ascending list.
TOP = ("infinity", UUID(int=2**128 - 1))
BOTTOM = ("-infinity", UUID(int=0))


class Cursor(Struct, frozen=True):
    """The position of the last row of a page. Its text is base64 of 8 bytes time and 16 bytes id; clients
    must not interpret it."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        packed = _LAYOUT.pack((self.at - _EPOCH) // _MICROSECOND, self.id.bytes)
        return base64.urlsafe_b64encode(packed).decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises InvalidRequest if the text is not a cursor."""
        try:
            microseconds, raw_id = _LAYOUT.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=raw_id))
        except (ValueError, OverflowError, binascii.Error, struct.error):
            raise InvalidRequest("cursor must be a next_cursor of an earlier page", field="cursor") from None


class PageRequest(Struct, frozen=True):
    """The requested page: `limit` rows after the cursor, or without a cursor after `offset` rows."""

    limit: int
    offset: int
    cursor: Cursor | None

    def after(self, edge: tuple[str, UUID]) -> tuple[datetime | str, UUID]:
        """Returns the position before the page, as SQL parameters. `edge`: the position before the first
        page."""
        return (self.cursor.at, self.cursor.id) if self.cursor else edge
