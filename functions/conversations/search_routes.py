"""The route of the search through the caller's messages."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.parameters import Range, caller, number, parameter
from functions.conversations.routing import resource
from functions.conversations.schemas import SearchResults
from functions.conversations.search_store import SearchStore
from shared import web
from shared.auth import TokenVerifier
from shared.errors import InvalidRequest

MAX_QUERY = 200  # characters
LIMIT = Range(20, 1, 50)


class SearchRoutes:
    def __init__(self, *, verifier: TokenVerifier, store: SearchStore) -> None:
        self._verifier = verifier
        self._store = store

    def routes(self) -> list[Route]:
        return [resource("/api/chat/search", GET=self.search)]

    async def search(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        typed = parameter(request, "q") or ""
        if not typed.strip() or len(typed) > MAX_QUERY or "\0" in typed:
            raise InvalidRequest(f"q must be a text of 1 to {MAX_QUERY} characters", field="q")
        limit = number(request, "limit", LIMIT)
        return web.json_response(SearchResults(await self._store.search(identity.user_id, typed, limit)))
