"""The SQL of imports.

Each batch is one transaction, small enough for the statement timeout. If an import fails, the earlier batches
stay, and a second import of the same file adds the rest.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from functions.conversations.archive import Archive, ArchivedMessage
from functions.conversations.schemas import Imported
from shared import rate_limits
from shared.db import Database, json_argument
from shared.errors import Conflict
from shared.rate_limits import RateLimitState
from shared.settings import RateLimit

# Storing and indexing one batch takes a few hundred milliseconds at most.
_BATCH_MESSAGES = 500
_BATCH_CHARACTERS = 250_000


class _BeginReply(Struct, frozen=True):
    rate: RateLimitState
    created: bool
    imported: int | None


class ArchiveStore:
    def __init__(self, database: Database, write_limit: RateLimit) -> None:
        self._database = database
        self._write_limit = write_limit

    async def add(self, user_id: UUID, archive: Archive) -> tuple[Imported, bool, RateLimitState]:
        """Stores the conversation and the messages of a file that are not stored yet.

        `archive` is the result of `own_copy`. Returns the counts, whether anything was stored, and the rate
        limit. Raises RateLimited, and then stores nothing, or Conflict if the conversation is deleted during
        the import.
        """
        first, *others = _batches(archive.messages)
        request: dict[str, Any] = {
            "user_id": user_id,
            "conversation": archive.conversation,
            "messages": first,
            "rate_limit": self._write_limit.requests,
            "rate_window": self._write_limit.seconds,
        }
        reply = msgspec.convert(
            await self._database.call("select $functions.begin_import(%s)", (json_argument(request),)),
            _BeginReply,
        )
        if not reply.rate.allowed:
            raise rate_limits.rate_limited_error("write", reply.rate)
        conversation_id = archive.conversation.id
        imported = _count(reply.imported)
        for batch in others:
            request = {"user_id": user_id, "conversation_id": conversation_id, "messages": batch}
            imported += _count(
                await self._database.call("select $functions.import_messages(%s)", (json_argument(request),))
            )
        result = Imported(id=conversation_id, imported=imported, skipped=len(archive.messages) - imported)
        return result, reply.created or imported > 0, reply.rate


def _batches(messages: list[ArchivedMessage]) -> Iterator[list[ArchivedMessage]]:
    """Yields at least one batch, which may be empty."""
    batch: list[ArchivedMessage] = []
    characters = 0
    for message in messages:
        if len(batch) == _BATCH_MESSAGES or (batch and characters + len(message.content) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(message)
        characters += len(message.content)
    yield batch


def _count(imported: int | None) -> int:
    if imported is None:
        raise Conflict("the conversation was deleted during the import")
    return imported
