"""The routes of messages, and of stopping the turn that writes one."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.messages_store import ORDERS, MessageStore
from functions.conversations.parameters import Range, caller, check_own, choice, path_id, window
from functions.conversations.routing import resource
from functions.conversations.schemas import Cancellation, NewMessage, check_metadata
from shared import rate_limits, web
from shared.auth import TokenVerifier

LIMIT = Range(100, 1, 100)
# 32,000 characters of four bytes, metadata, and room for what is written as escapes.
MAX_BODY_BYTES = 262_144


class MessageRoutes:
    def __init__(self, *, verifier: TokenVerifier, store: MessageStore) -> None:
        self._verifier = verifier
        self._store = store

    def routes(self) -> list[Route]:
        return [
            resource("/api/chat/conversations/{id}/messages", GET=self.page, POST=self.add),
            resource("/api/chat/messages/{id}/cancel", POST=self.cancel),
        ]

    async def page(self, request: Request) -> Response:
        """Oldest first; with `order=desc` newest first, as a page that shows the end of a conversation
        and reads backwards wants it."""
        identity = await caller(request, self._verifier)
        conversation_id = path_id(request, "conversation")
        asked = window(request, LIMIT)
        order = choice(request, "order", ORDERS)
        return web.json_response(await self._store.page(identity.user_id, conversation_id, asked, order))

    async def add(self, request: Request) -> Response:
        identity = await caller(request, self._verifier)
        conversation_id = path_id(request, "conversation")
        said = web.decode(await web.read_body(request, limit=MAX_BODY_BYTES), NewMessage)
        check_own(said.user_id, identity)
        check_metadata(said.metadata, "metadata")
        made, rate = await self._store.add(identity.user_id, conversation_id, said)
        return web.json_response(made, status=201, headers=rate_limits.headers("write", rate))

    async def cancel(self, request: Request) -> Response:
        """202 while the turn is being stopped, 200 once it has ended: asking again does no harm."""
        identity = await caller(request, self._verifier)
        message_id = path_id(request, "message")
        status = await self._store.cancel(identity.user_id, message_id)
        if status == "running":
            return web.json_response(Cancellation(message_id, "cancelling"), status=202)
        return web.json_response(Cancellation(message_id, status))
