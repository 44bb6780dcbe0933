"""The routes of conversations."""

from typing import Any

from msgspec import UNSET, structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.conversations_store import ConversationStore
from functions.conversations.parameters import Range, as_id, caller, check_own, parameter, path_id, window
from functions.conversations.routing import resource
from functions.conversations.schemas import ConversationPatch, NewConversation
from shared import rate_limits, web
from shared.auth import TokenVerifier
from shared.errors import InvalidRequest

LIMIT = Range(50, 1, 100)


class ConversationRoutes:
    def __init__(self, *, verifier: TokenVerifier, store: ConversationStore) -> None:
        self._verifier = verifier
        self._store = store

    def routes(self) -> list[Route]:
        return [
            resource("/api/chat/conversations", GET=self.page, POST=self.create, DELETE=self.delete_named),
            resource("/api/chat/conversations/{id}", GET=self.get, PATCH=self.change, DELETE=self.delete),
        ]

    async def page(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        asked = window(request, LIMIT)
        return web.json_response(await self._store.page(identity.user_id, asked))

    async def create(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        said = web.decode(await web.read_body(request), NewConversation)
        check_own(said.user_id, identity)
        made, rate = await self._store.create(identity.user_id, said)
        return web.json_response(made, status=201, headers=rate_limits.headers("write", rate))

    async def get(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        return web.json_response(await self._store.get(identity.user_id, path_id(request, "conversation")))

    async def change(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        conversation_id = path_id(request, "conversation")
        said = web.decode(await web.read_body(request), ConversationPatch)
        changed = await self._store.change(identity.user_id, conversation_id, _changes(said))
        return web.json_response(changed)

    async def delete(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        await self._store.delete(identity.user_id, path_id(request, "conversation"))
        return Response(status_code=204)

    async def delete_named(self, request: Request) -> Response:
        """The same, for clients that name it in the query string."""
        identity = await caller(request, self._verifier)
        named = parameter(request, "id")
        if named is None:
            raise InvalidRequest("id is missing", field="id")
        await self._store.delete(identity.user_id, as_id(named, "conversation"))
        return Response(status_code=204)


def _changes(said: ConversationPatch) -> dict[str, Any]:
    changes = {name: value for name, value in structs.asdict(said).items() if value is not UNSET}
    if not changes:
        raise InvalidRequest("the body must have title, model or tags")
    if "tags" in changes:
        changes["tags"] = list(dict.fromkeys(changes["tags"] or ()))
    return changes
