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
    description="The number of entries to skip. Entries that are inserted between two requests shift the"
    " pages.",
)


class CursorParameter(Parameter[Cursor | None], frozen=True, kw_only=True, eq=False):
    """The end of the previous page. None if the parameter is absent."""

    def parse(self, text: str | None) -> Cursor | None:
        return None if text is None else Cursor.parse(text)

    def schema(self) -> dict[str, str]:
        # 24 bytes. The first byte is 0 until the year 4253.
        return {"type": "string", "pattern": "^A[A-P][A-Za-z0-9_-]{30}$"}


CURSOR = CursorParameter(
    name="cursor",
    description="The `next_cursor` of the previous page, instead of `offset`. No entry is skipped or"
    " returned twice, even if entries are inserted between two requests.",
)


def page_limit(default: int) -> Integer:
    """Returns the parameter `limit` of a list: 1 to 100 entries on a page."""
    return Integer(
        name="limit",
        default=default,
        at_least=1,
        at_most=100,
        description="The maximum number of entries on the page.",
    )


def page_request(call: Call, limit: Integer) -> PageRequest:
    """Returns the requested page. Raises InvalidRequest if the request has both OFFSET and CURSOR."""
    cursor = call[CURSOR]
    if cursor is not None and call.has(OFFSET):
        raise InvalidRequest("cursor and offset cannot be used together", field="cursor")
    return PageRequest(limit=call[limit], offset=call[OFFSET], cursor=cursor)
