"""Pages of a list: a number of rows after a cursor, or after a number of rows.

A cursor is a time and an id, so that rows which are inserted or deleted elsewhere do not shift it.
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
    """The position of the last row of a page. Clients treat its text as opaque."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        packed = _LAYOUT.pack((self.at - _EPOCH) // _MICROSECOND, self.id.bytes)
        return base64.urlsafe_b64encode(packed).decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises InvalidRequest for anything that is not a cursor's text."""
        try:
            microseconds, raw_id = _LAYOUT.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=raw_id))
        except (ValueError, OverflowError, binascii.Error, struct.error):
            raise InvalidRequest("cursor must be a next_cursor of an earlier page", field="cursor") from None


class PageRequest(Struct, frozen=True):
    """The requested page: `limit` rows after the cursor, or without one after `offset` rows."""

    limit: int
    offset: int
    cursor: Cursor | None

    def after(self, edge: tuple[str, UUID]) -> tuple[datetime | str, UUID]:
        """The position after which the page begins, as SQL parameters; `edge` is that of the first page."""
        return (self.cursor.at, self.cursor.id) if self.cursor else edge
