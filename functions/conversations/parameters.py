"""The parameters that several endpoints of this function share."""

from functions.conversations.paging import Cursor, PageRequest
from functions.conversations.routing import Call
from shared.errors import InvalidRequest
from shared.parameters import Integer, Parameter, ResourceId

CONVERSATION_ID = ResourceId(
    name="id",
    place="path",
    required=True,
    resource="conversation",
    description="The id of the conversation.",
)
MESSAGE_ID = ResourceId(
    name="id", place="path", required=True, resource="message", description="The id of the answer's message."
)
OFFSET = Integer(
    name="offset",
    default=0,
    at_least=0,
    at_most=1_000_000_000,
    description="The number of entries to skip. Entries that are inserted meanwhile shift the pages.",
)


class CursorParameter(Parameter[Cursor | None], frozen=True, kw_only=True, eq=False):
    """The place where the page before ended; absent, None."""

    def parse(self, text: str | None) -> Cursor | None:
        return None if text is None else Cursor.parse(text)

    def schema(self) -> dict[str, str]:
        # 24 bytes, of which the first is 0 until the year 4253.
        return {"type": "string", "pattern": "^A[A-P][A-Za-z0-9_-]{30}$"}


CURSOR = CursorParameter(
    name="cursor",
    description="The `next_cursor` of an earlier page, used instead of `offset`. No entry is skipped or"
    " returned twice, even if entries are inserted meanwhile.",
)


def page_limit(default: int) -> Integer:
    """The `limit` of a list: 1 to 100 entries a page."""
    return Integer(
        name="limit",
        default=default,
        at_least=1,
        at_most=100,
        description="The maximum number of entries on the page.",
    )


def page_request(call: Call, limit: Integer) -> PageRequest:
    """The page that `limit`, OFFSET and CURSOR ask for. Raises InvalidRequest for the last two together."""
    cursor = call[CURSOR]
    if cursor is not None and call.has(OFFSET):
        raise InvalidRequest("cursor and offset exclude each other", field="cursor")
    return PageRequest(limit=call[limit], offset=call[OFFSET], cursor=cursor)
