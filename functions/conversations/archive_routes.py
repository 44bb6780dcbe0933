"""The routes of export and import: a conversation as a file, and back."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from functions.conversations import archive
from functions.conversations.archive_store import ArchiveStore
from functions.conversations.conversations_store import ConversationStore
from functions.conversations.messages_store import MessageStore
from functions.conversations.paging import Cursor, PageRequest
from functions.conversations.parameters import caller, choice, path_id
from functions.conversations.routing import resource
from functions.conversations.schemas import ExportFormat, Message
from shared import rate_limits, web
from shared.auth import TokenVerifier

_PAGE_MESSAGES = 200
_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
# How a file is written, what it is, and how its name ends.
_FILES = {
    "json": (archive.as_json, "application/json", "json"),
    "markdown": (archive.as_markdown, "text/markdown; charset=utf-8", "md"),
}


class ArchiveRoutes:
    """`now` is in seconds since the epoch."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        conversations: ConversationStore,
        messages: MessageStore,
        store: ArchiveStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._conversations = conversations
        self._messages = messages
        self._store = store
        self._now = now

    def routes(self) -> list[Route]:
        return [
            resource("/api/chat/conversations/{id}/export", GET=self.export),
            resource("/api/chat/import", POST=self.import_),
        ]

    async def export(self, request: Request) -> Response:
        """Read as it is sent, page by page: neither a transaction nor a connection is held for a slow
        client, and memory for one page is enough. What goes wrong on the way breaks the file off."""
        identity = await caller(request, self._verifier)
        conversation_id = path_id(request, "conversation")
        write, media_type, extension = _FILES[choice(request, "format", _FORMATS)]
        conversation = await self._conversations.get(identity.user_id, conversation_id)
        return StreamingResponse(
            write(conversation, self._pages(identity.user_id, conversation_id)),
            media_type=media_type,
            headers={"Content-Disposition": archive.disposition(conversation, extension)},
        )

    async def import_(self, request: Request) -> Response:
        """201 if anything was new, else 200."""
        identity = await caller(request, self._verifier)
        body = await web.read_body(request, limit=archive.MAX_BYTES)
        said = archive.read(body, identity.user_id, datetime.fromtimestamp(self._now(), UTC))
        imported, is_new, rate = await self._store.add(identity.user_id, said)
        headers = rate_limits.headers("write", rate)
        return web.json_response(imported, status=201 if is_new else 200, headers=headers)

    async def _pages(self, user_id: UUID, conversation_id: UUID) -> AsyncIterator[list[Message]]:
        cursor = None
        while True:
            window = PageRequest(_PAGE_MESSAGES, 0, cursor)
            page = await self._messages.page(user_id, conversation_id, window, "asc")
            yield page.messages
            if page.next_cursor is None:
                return
            cursor = Cursor.parse(page.next_cursor)
