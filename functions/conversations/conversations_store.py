"""The SQL of conversations. Each call runs as one user, so that row-level security applies."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import msgspec

from functions.conversations.paging import TOP, Cursor, PageRequest
from functions.conversations.schemas import Conversation, ConversationPage, NewConversation
from shared import rate_limits
from shared.db import Database, json_argument
from shared.errors import NotFound
from shared.rate_limits import RateLimitState
from shared.settings import RateLimit

_COLUMNS = """
    id, user_id, title, model, tags, context_window, total_tokens, message_count,
    last_message_at, created_at, updated_at
"""


class ConversationStore:
    def __init__(self, database: Database, write_limit: RateLimit) -> None:
        self._database = database
        self._write_limit = write_limit

    async def create(self, user_id: UUID, new: NewConversation) -> tuple[Conversation, RateLimitState]:
        """Stores a conversation. Raises RateLimited, and then stores nothing."""
        [row] = await self._database.fetch(
            user_id,
            f"""
            with counted as materialized (select $functions.consume_rate_limit(%s) as rate),
            created as (
                insert into $tables.conversations (id, user_id, title, model, context_window)
                select %s, %s, %s, %s, %s from counted where (rate -> 'allowed')::boolean
                -- The id is new, so there is a conflict only if this statement is repeated.
                on conflict (id) do update set id = excluded.id
                returning {_COLUMNS}
            )
            select counted.rate, created.* from counted left join created on true
            """,  # noqa: S608 (a constant)
            (
                rate_limits.request("write", self._write_limit),
                uuid4(),
                user_id,
                new.title,
                new.model,
                new.context_window,
            ),
        )
        rate = msgspec.convert(row["rate"], RateLimitState)
        if not rate.allowed:
            raise rate_limits.rate_limited_error("write", rate)
        return msgspec.convert(row, Conversation), rate

    async def page(self, user_id: UUID, request: PageRequest) -> ConversationPage:
        """Returns one page, the most recently active conversation first.

        An index-only scan counts the total: 10 ms for 100,000 conversations.
        """
        rows = await self._database.fetch(
            user_id,
            f"""
            select counted.total, page.*
            from (select count(*) as total from $tables.conversations) as counted
            left join (
                select {_COLUMNS}, active_at
                from $tables.conversations
                where (active_at, id) < (%s::timestamptz, %s)
                order by active_at desc, id desc
                limit %s offset %s
            ) as page on true
            order by page.active_at desc, page.id desc
            """,  # noqa: S608 (a constant)
            (*request.after(TOP), request.limit + 1, request.offset),
        )
        found = [row for row in rows if row["id"] is not None]
        page = found[: request.limit]
        has_more = len(found) > len(page)
        return ConversationPage(
            conversations=msgspec.convert(page, list[Conversation]),
            total=rows[0]["total"],
            next_cursor=str(Cursor(page[-1]["active_at"], page[-1]["id"])) if has_more else None,
        )

    async def get(self, user_id: UUID, conversation_id: UUID) -> Conversation:
        """Returns one conversation. Raises NotFound."""
        return await self._one(
            user_id,
            f"select {_COLUMNS} from $tables.conversations where id = %s",  # noqa: S608 (a constant)
            (conversation_id,),
        )

    async def change(self, user_id: UUID, conversation_id: UUID, changes: Mapping[str, Any]) -> Conversation:
        """Sets the columns in `changes`. Raises NotFound.

        The column names become a part of the SQL, so they must not come from a client.
        """
        assignments = ", ".join(f"{name} = %s" for name in changes)
        return await self._one(
            user_id,
            f"""
            update $tables.conversations set {assignments}, updated_at = now()
            where id = %s
            returning {_COLUMNS}
            """,  # noqa: S608 (constants)
            (*changes.values(), conversation_id),
        )

    async def delete(self, user_id: UUID, conversation_id: UUID) -> None:
        """Deletes the conversation with its messages, and asks a running turn to stop. Raises NotFound."""
        request = {"user_id": user_id, "conversation_id": conversation_id}
        if not await self._database.call(
            "select $functions.delete_conversation(%s)", (json_argument(request),)
        ):
            raise NotFound("no such conversation")

    async def _one(self, user_id: UUID, query: str, params: tuple[Any, ...]) -> Conversation:
        rows = await self._database.fetch(user_id, query, params)
        if not rows:
            raise NotFound("no such conversation")
        return msgspec.convert(rows[0], Conversation)
