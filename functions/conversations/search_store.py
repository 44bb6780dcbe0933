"""The SQL of the search. It runs as the user whose messages are searched."""

import re
from uuid import UUID

import msgspec

from functions.conversations.schemas import SearchResult
from shared.db import Database, json_argument

# The marks before and after a match: characters that search_messages removes from the text.
_MARKS = re.compile("[\x01\x02]")


class SearchStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, user_id: UUID, query: str, limit: int) -> list[SearchResult]:
        """Returns the results, best first. `query` is any text without NUL."""
        request = json_argument({"text": query, "limit": limit})
        rows = await self._database.fetch(user_id, "select * from $functions.search_messages(%s)", (request,))
        for row in rows:
            row["snippet"], row["matches"] = _without_marks(row["snippet"])
        return msgspec.convert(rows, list[SearchResult])


def _without_marks(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Returns the text, and the start and end of each match in characters. Adjacent matches are joined."""
    pieces = _MARKS.split(marked.replace("\x02\x01", ""))
    spans, length = [], 0
    for piece in pieces:
        spans.append((length, length + len(piece)))
        length += len(piece)
    return "".join(pieces), spans[1::2]
