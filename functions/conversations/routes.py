"""The routes of conversations and messages: who asks, what for, and the answer's shape."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.store import ConversationStore
from shared import http
from shared.auth import TokenVerifier
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.logs import logger


class NewConversation(Struct, frozen=True, kw_only=True):
    user_id: UUID | None = None
    title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None


class ConversationRoutes:
    def __init__(self, *, verifier: TokenVerifier, store: ConversationStore) -> None:
        self._verifier = verifier
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("/api/chat/conversations", self.create, methods=["POST"]),
            Route("/api/chat/conversations/{id}/messages", self.messages, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        user_id = await self._caller(request)
        said = http.decode(await http.read_body(request), NewConversation)
        if said.user_id not in {None, user_id}:
            raise Forbidden("user_id is not the caller's own")
        made = await self._store.create(
            user_id, title=said.title, model=said.model, context_window=said.context_window
        )
        return http.json_response(made, status=201)

    async def messages(self, request: Request) -> Response:
        user_id = await self._caller(request)
        page = await self._store.messages(
            user_id,
            _conversation_id(request),
            limit=_number(request, "limit", 100, at_least=1, at_most=100),
            offset=_number(request, "offset", 0, at_least=0, at_most=1_000_000_000),
        )
        return http.json_response(page)

    async def _caller(self, request: Request) -> UUID:
        identity = await self._verifier.verify(request.headers.get("authorization"))
        logger.thread_safe_append_keys(user_id=str(identity.user_id))
        return identity.user_id


def _conversation_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound("no such conversation") from None


def _number(request: Request, name: str, default: int, *, at_least: int, at_most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or not at_least <= int(text) <= at_most:
        raise InvalidRequest(f"{name} must be a whole number from {at_least} to {at_most}", field=name)
    return int(text)
