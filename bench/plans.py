"""Prints the query plans of the list endpoints at 100,000 rows, for `docs/performance.md`.

The statements are those of the stores.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from bench import servers
from dev import postgres
from functions.conversations.conversations_store import ConversationStore
from functions.conversations.messages_store import MessageStore
from functions.conversations.paging import Cursor, PageRequest
from shared.db import Database, Row
from shared.db_credentials import DatabaseCredentials
from shared.settings import RateLimit

USER = UUID("00000000-0000-4000-8000-000000000001")
CONVERSATION = UUID("00000000-0000-4000-8000-000000000002")
_ROWS = 100_000
_LIMIT = RateLimit(1, 1)


class ExplainingDatabase(Database):
    """Runs each statement twice: once under EXPLAIN, whose plan it keeps in `plan`."""

    plan = ""

    async def fetch(self, user_id: UUID, query: str, params: Sequence[Any] = ()) -> list[Row]:
        explained = await super().fetch(user_id, f"explain (analyze, buffers) {query}", params)
        self.plan = "\n".join(row["QUERY PLAN"] for row in explained)
        return await super().fetch(user_id, query, params)


def fill(url: str, rows: int) -> None:
    """Adds `rows` conversations for each of two users, and a conversation with `rows` messages.

    `url` must be a superuser's.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into conversations (id, user_id, title, created_at)"
            " select gen_random_uuid(), owner, 'Conversation ' || n, now() - make_interval(mins => n)"
            " from generate_series(1, %s) as n, (values (%s), (gen_random_uuid())) as owners (owner)",
            (rows, USER),
        )
        connection.execute(
            "insert into conversations (id, user_id) values (%s, %s)",
            (CONVERSATION, USER),
        )
        connection.execute(
            "insert into messages (id, conversation_id, user_id, role, content, created_at)"
            " select gen_random_uuid(), %s, %s, 'user', 'Message ' || n,"
            "     now() - make_interval(mins => %s - n)"
            " from generate_series(1, %s) as n",
            (CONVERSATION, USER, rows, rows),
        )
        connection.execute("vacuum (analyze) conversations, messages")


async def plans(url: str, rows: int) -> dict[str, str]:
    """The plans by list and page: the first page, a later page by cursor, and the same page by offset."""
    database = ExplainingDatabase(DatabaseCredentials.from_url(url), timeout=60)
    conversations, messages = ConversationStore(database, _LIMIT), MessageStore(database, _LIMIT)
    found_plans = {}

    async def conversation_page(name: str, request: PageRequest) -> str | None:
        page = await conversations.page(USER, request)
        found_plans[f"conversations, {name}"] = database.plan
        return page.next_cursor

    async def message_page(name: str, request: PageRequest) -> str | None:
        page = await messages.page(USER, CONVERSATION, request, "asc")
        found_plans[f"messages, {name}"] = database.plan
        return page.next_cursor

    for page, limit in ((conversation_page, 50), (message_page, 100)):
        await page("first page", PageRequest(limit, 0, None))
        cursor = await page("offset", PageRequest(limit, rows * 9 // 10, None))
        assert cursor is not None
        await page("cursor", PageRequest(limit, 0, Cursor.parse(cursor)))
    await database.close()
    return found_plans


def main() -> None:
    with servers.database() as server:
        fill(server.url("postgres"), _ROWS)
        for name, plan in asyncio.run(plans(server.url(postgres.APP), _ROWS)).items():
            print(f"{name}\n{plan}\n")


if __name__ == "__main__":
    main()
