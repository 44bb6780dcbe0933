"""The SQL of conversations and messages, each call as one user."""

from typing import Any
from uuid import UUID, uuid4

from shared.db import Database, Row
from shared.errors import NotFound

_CONVERSATION = """
    id, user_id, title, model, context_window, total_tokens, message_count,
    last_message_at, created_at, updated_at
"""


class ConversationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, user_id: UUID, *, title: str | None, model: str | None, context_window: int | None
    ) -> Row:
        rows = await self._database.fetch(
            user_id,
            f"""
            insert into conversations (id, user_id, title, model, context_window)
            values (%s, %s, %s, %s, %s)
            -- The id is ours: only a repeat of this very statement meets it again.
            on conflict (id) do update set id = excluded.id
            returning {_CONVERSATION}
            """,  # noqa: S608 (a constant)
            (uuid4(), user_id, title, model, context_window),
        )
        return rows[0]

    async def messages(
        self, user_id: UUID, conversation_id: UUID, *, limit: int, offset: int
    ) -> dict[str, Any]:
        """A page of messages, oldest first, and how many there are. Raises NotFound."""
        rows = await self._database.fetch(
            user_id,
            """
            select c.message_count as total, m.*
            from conversations as c
            left join lateral (
                select id, role, content, status, token_count, metadata, created_at
                from messages
                where conversation_id = c.id
                order by messages.created_at, messages.id
                limit %s offset %s
            ) as m on true
            where c.id = %s
            order by m.created_at, m.id
            """,
            (limit, offset, conversation_id),
        )
        if not rows:
            raise NotFound("no such conversation")
        total = rows[0]["total"]
        for row in rows:
            del row["total"]
        return {"messages": [row for row in rows if row["id"] is not None], "total": total}
