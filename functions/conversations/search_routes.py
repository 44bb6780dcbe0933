"""The endpoint that searches the caller's messages."""

from starlette.responses import Response

from functions.conversations.routing import Call, endpoint
from functions.conversations.schemas import SearchResults
from functions.conversations.search_store import SearchStore
from shared import web
from shared.endpoints import Reply
from shared.parameters import Integer, SearchText

_QUERY = SearchText(
    name="q", required=True, max_length=200, description="The words to search for. Any text is valid."
)
_LIMIT = Integer(
    name="limit", default=20, at_least=1, at_most=50, description="The maximum number of results."
)


class SearchRoutes:
    def __init__(self, store: SearchStore) -> None:
        self._store = store

    @endpoint(
        "GET",
        "/api/chat/search",
        operation_id="searchMessages",
        tag="Messages",
        parameters=(_QUERY, _LIMIT),
        replies=[Reply(description="The matching messages, best first.", types=(SearchResults,))],
    )
    async def search(self, call: Call) -> Response:
        """Search the caller's messages.

        A result contains all words of the query. The last word may be the beginning of a longer word. Words
        in quotes must follow each other, `-` excludes a word, and `or` between two words accepts either. Only
        the newest 500 messages that match are ranked.
        """
        results = await self._store.search(call.identity.user_id, call[_QUERY], call[_LIMIT])
        return web.json_response(SearchResults(results))
