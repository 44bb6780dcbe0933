"""The endpoints of export and import: a conversation as a file, and a conversation from a file."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

from starlette.responses import Response, StreamingResponse

from functions.conversations import archive
from functions.conversations.archive_store import ArchiveStore
from functions.conversations.conversations_store import ConversationStore
from functions.conversations.messages_store import MessageStore
from functions.conversations.paging import Cursor, PageRequest
from functions.conversations.parameters import CONVERSATION_ID
from functions.conversations.routing import Call, endpoint
from functions.conversations.schemas import ExportFormat, Imported, Message
from shared import rate_limits, web
from shared.endpoints import RATE_LIMIT_HEADERS, Body, Reply
from shared.errors import Conflict, RateLimited
from shared.parameters import Choice

_TAG = "Export and import"
_PAGE_MESSAGES = 200
_FORMAT = Choice[ExportFormat](
    name="format",
    choices=get_args(ExportFormat),
    description="`json` can be imported, `markdown` is for reading.",
)
_ARCHIVE = Body(
    type=archive.Archive,
    max_bytes=archive.MAX_BYTES,
    example={
        "format": "serverless-chat/1",
        "conversation": {
            "id": "0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
            "created_at": "2026-01-01T12:00:00Z",
        },
        "messages": [
            {
                "id": "5d0e6f0e-52b5-4a7c-8a8e-3a8b4f1f2c22",
                "role": "user",
                "content": "How do I sleep better?",
                "created_at": "2026-01-01T12:00:00Z",
            }
        ],
    },
)
# For each format: the function that writes the file, its media type and its extension.
_WRITERS = {
    "json": (archive.as_json, "application/json", "json"),
    "markdown": (archive.as_markdown, "text/markdown; charset=utf-8", "md"),
}


class ArchiveRoutes:
    """`now` is in seconds since the epoch."""

    def __init__(
        self,
        *,
        conversations: ConversationStore,
        messages: MessageStore,
        store: ArchiveStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._store = store
        self._now = now

    @endpoint(
        "GET",
        "/api/chat/conversations/{id}/export",
        operation_id="exportConversation",
        tag=_TAG,
        parameters=(CONVERSATION_ID, _FORMAT),
        replies=[
            Reply(
                description="The conversation as a file.",
                types=(archive.Export,),
                headers=("Content-Disposition",),
            ),
            Reply(
                description="The conversation as a file.",
                media_type="text/markdown",
                headers=("Content-Disposition",),
            ),
        ],
    )
    async def export(self, call: Call) -> Response:
        """Export a conversation as a file.

        The conversation is read while the file is sent. After an error the file is incomplete, and the
        connection is closed.
        """
        # Read page by page: between two pages no transaction and no database connection is open for a slow
        # client, and only one page is in memory.
        user_id, conversation_id = call.identity.user_id, call[CONVERSATION_ID]
        write, media_type, extension = _WRITERS[call[_FORMAT]]
        conversation = await self._conversations.get(user_id, conversation_id)
        return StreamingResponse(
            write(conversation, self._pages(user_id, conversation_id)),
            media_type=media_type,
            headers={"Content-Disposition": archive.disposition(conversation, extension)},
        )

    @endpoint(
        "POST",
        "/api/chat/import",
        operation_id="importConversation",
        tag=_TAG,
        body=_ARCHIVE,
        replies=[
            Reply(
                status=201,
                description="The import stored a new conversation or new messages.",
                types=(Imported,),
                headers=RATE_LIMIT_HEADERS,
            ),
            Reply(
                description="The import stored nothing, because everything in the file is stored already.",
                types=(Imported,),
                headers=RATE_LIMIT_HEADERS,
            ),
        ],
        errors=[Conflict, RateLimited],
    )
    async def import_(self, call: Call) -> Response:
        """Import a copy of an exported conversation.

        New ids are made from the caller's id and the ids in the file. A second import of the same file adds
        only the messages that are missing. A file of another user is copied and belongs to the caller. A
        failed import may have stored a part of the file; a second import adds the rest.
        """
        user_id = call.identity.user_id
        copy = archive.own_copy(call[_ARCHIVE], user_id, datetime.fromtimestamp(self._now(), UTC))
        imported, is_new, rate = await self._store.add(user_id, copy)
        headers = rate_limits.headers("write", rate)
        return web.json_response(imported, status=201 if is_new else 200, headers=headers)

    async def _pages(self, user_id: UUID, conversation_id: UUID) -> AsyncIterator[list[Message]]:
        cursor = None
        while True:
            request = PageRequest(_PAGE_MESSAGES, 0, cursor)
            page = await self._messages.page(user_id, conversation_id, request, "asc")
            yield page.messages
            if page.next_cursor is None:
                return
            cursor = Cursor.parse(page.next_cursor)
