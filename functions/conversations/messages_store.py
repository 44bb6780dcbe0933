"""The SQL of messages. Each call runs as one user, so that row-level security applies."""

from typing import Literal, TypeAlias, get_args
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from functions.conversations.paging import BOTTOM, TOP, Cursor, PageRequest
from functions.conversations.schemas import Ending, Message, MessagePage, NewMessage
from shared import costs, rate_limits
from shared.db import Database, Row, json_argument
from shared.errors import NotFound
from shared.ids import derive_conversation_id, parse_uuid
from shared.rate_limits import RateLimitState
from shared.settings import RateLimit

Order: TypeAlias = Literal["asc", "desc"]

ORDERS: tuple[Order, ...] = get_args(Order)

_COLUMNS = "id, role, content, status, token_count, metadata, created_at"
# For each order: how a row compares with the position before it, and the position before the first row.
_DIRECTIONS: dict[Order, tuple[str, tuple[str, UUID]]] = {"asc": (">", BOTTOM), "desc": ("<", TOP)}
# Lambda buffers at most 6 MB of a response. A page of long messages ends early, with a cursor.
_MAX_PAGE_BYTES = 4_000_000


class _Answer(Struct):
    answer_id: UUID
    status: Literal["running"] | Ending


_answers = msgspec.json.Decoder(_Answer)


class MessageStore:
    def __init__(self, database: Database, write_limit: RateLimit) -> None:
        self._database = database
        self._write_limit = write_limit

    async def add(
        self, user_id: UUID, conversation_id: UUID, new: NewMessage
    ) -> tuple[Message, RateLimitState]:
        """Stores a message. Raises RateLimited or NotFound, and then stores nothing."""
        [row] = await self._database.fetch(
            user_id,
            f"""
            with counted as materialized (select $functions.consume_rate_limit(%s) as rate),
            conversation as materialized (
                -- Locked before the message gets its time, so that messages become visible in the order of
                -- their times. A client that reads on from a cursor then misses no message.
                select id, user_id from $tables.conversations
                where id = %s and (select (rate -> 'allowed')::boolean from counted)
                for no key update
            ),
            created as (
                insert into $tables.messages (
                    id, conversation_id, user_id, role, content, token_count, metadata
                )
                select %s, id, user_id, %s, %s, %s, %s::jsonb from conversation
                -- The id is new, so there is a conflict only if this statement is repeated.
                on conflict (id) do update set id = excluded.id
                returning {_COLUMNS}
            )
            select counted.rate, created.* from counted left join created on true
            """,  # noqa: S608 (a constant)
            (
                rate_limits.request("write", self._write_limit),
                conversation_id,
                uuid4(),
                new.role,
                new.content,
                costs.estimate_tokens(new.content),
                msgspec.json.encode(new.metadata).decode(),
            ),
        )
        rate = msgspec.convert(row["rate"], RateLimitState)
        if not rate.allowed:
            raise rate_limits.rate_limited_error("write", rate)
        if row["id"] is None:
            raise NotFound("no such conversation")
        return msgspec.convert(row, Message), rate

    async def page(
        self, user_id: UUID, conversation_id: UUID, request: PageRequest, order: Order
    ) -> MessagePage:
        """Returns one page of the conversation's messages. Raises NotFound."""
        comparison, edge = _DIRECTIONS[order]
        rows = await self._database.fetch(
            user_id,
            f"""
            select c.message_count as total, page.*
            from $tables.conversations as c
            left join (
                select {_COLUMNS}
                from $tables.messages as m
                where conversation_id = %s and (created_at, id) {comparison} (%s::timestamptz, %s)
                order by m.created_at {order}, m.id {order}
                limit %s offset %s
            ) as page on true
            where c.id = %s
            order by page.created_at {order}, page.id {order}
            """,  # noqa: S608 (constants)
            (conversation_id, *request.after(edge), request.limit + 1, request.offset, conversation_id),
        )
        if not rows:
            raise NotFound("no such conversation")
        found = [row for row in rows if row["id"] is not None]
        page = _rows_that_fit(found[: request.limit])
        has_more = len(found) > len(page)
        return MessagePage(
            messages=msgspec.convert(page, list[Message]),
            total=rows[0]["total"],
            next_cursor=str(Cursor(page[-1]["created_at"], page[-1]["id"])) if has_more else None,
        )

    async def cancel(self, user_id: UUID, message_id: UUID) -> Literal["running"] | Ending:
        """Asks the turn that writes the message to stop. Raises NotFound.

        Returns `running` until the turn has stopped, then the status of its answer.
        """
        request = {"user_id": user_id, "answer_id": message_id}
        status: Literal["running"] | Ending | None = await self._database.call(
            "select $functions.cancel_turn(%s)", (json_argument(request),)
        )
        if status is None:
            raise NotFound("no such message")
        return status

    async def cancel_conversation(
        self, user_id: UUID, conversation: str
    ) -> tuple[UUID, Literal["running"] | Ending]:
        """Asks the running turn of a conversation to stop. `conversation` is its id, or the client's own id
        for it. Raises NotFound.

        Returns the id of the answer, and its status as `cancel` does. If no turn is running, the answer is
        the newest one.
        """
        known_id = parse_uuid(conversation)
        derived_id = derive_conversation_id(user_id, conversation)
        request = {
            "user_id": user_id,
            "conversation_ids": [derived_id] if known_id is None else [known_id, derived_id],
        }
        answer: str | None = await self._database.call(
            "select $functions.cancel_conversation(%s)::text", (json_argument(request),)
        )
        if answer is None:
            raise NotFound("no such conversation, or it has no answer")
        found = _answers.decode(answer)
        return found.answer_id, found.status


def _rows_that_fit(rows: list[Row]) -> list[Row]:
    """Returns the first rows that fit into one response, but at least one row."""
    size = 0
    for count, row in enumerate(rows):
        size += len(msgspec.json.encode((row["content"], row["metadata"])))
        if size > _MAX_PAGE_BYTES and count:
            return rows[:count]
    return rows
