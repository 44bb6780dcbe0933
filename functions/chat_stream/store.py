"""The turn's SQL: how it begins and how it is settled, one round trip each."""

import asyncio
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from shared import costs
from shared.db import Database
from shared.errors import ChatError, Conflict, NotFound, Unavailable
from shared.events import Usage
from shared.llm.base import ChatMessage
from shared.llm.catalogue import Target
from shared.logs import logger

Status: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]

# As long as a function can run. Nobody else may write the answer before it is over.
_LEASE = "15 minutes"
# An answer is kept in memory this much longer when the database is away for a moment, as in a
# failover; the client hears heartbeats meanwhile.
_SAVE_AGAIN_AFTER_SECONDS = (0.5, 1.0, 2.0)


class Begun(Struct, frozen=True):
    """A turn that is stored and may now be answered."""

    user_id: UUID
    conversation_id: UUID
    answer_id: UUID
    history: tuple[ChatMessage, ...]


class UsageRow(Struct, frozen=True, kw_only=True):
    """A row of usage_logs; times in milliseconds, money in USD as a decimal string."""

    id: UUID
    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_usd: str
    priced: bool
    estimated: bool
    status: str
    ttft_ms: int | None
    duration_ms: int

    @classmethod
    def of(
        cls, target: Target, usage: Usage, *, status: str, ttft_ms: int | None, duration_ms: int
    ) -> "UsageRow":
        cost = costs.cost(target.provider_name, target.model, usage)
        if not cost.priced:
            logger.warning("model without a price; the fallback price was taken", model=target.name)
        return cls(
            id=uuid4(),
            provider=target.provider_name,
            model=target.model,
            tokens_in=usage.input,
            tokens_out=usage.output,
            tokens_cache_read=usage.cache_read,
            tokens_cache_write=usage.cache_write,
            tokens_reasoning=usage.reasoning,
            cost_usd=format(cost.usd, "f"),
            priced=cost.priced,
            estimated=usage.estimated,
            status=status,
            ttft_ms=ttft_ms,
            duration_ms=duration_ms,
        )

    def for_log(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self) | {"id": None}


class Settlement(Struct, frozen=True, kw_only=True):
    """All that is committed at the end of a turn."""

    user_id: UUID
    answer_id: UUID
    status: Status
    content: str
    token_count: int
    metadata: dict[str, Any]
    usage: list[UsageRow]

    @classmethod
    def without_answer(cls, begun: Begun, error: ChatError) -> "Settlement":
        """Of a turn that ended before any model began its answer, and so cost nothing."""
        return cls(
            user_id=begun.user_id,
            answer_id=begun.answer_id,
            status="error",
            content="",
            token_count=0,
            metadata={"code": error.code},
            usage=[],
        )


class _Outcome(Struct):
    outcome: Literal["begun", "not_found", "conflict"]
    conversation_id: UUID | None = None
    history: tuple[ChatMessage, ...] = ()


_outcomes = msgspec.json.Decoder(_Outcome)


class TurnStore:
    def __init__(self, database: Database, *, history_messages: int) -> None:
        self._database = database
        self._history_messages = history_messages

    async def begin(self, user_id: UUID, conversation_id: UUID | None, question: str, model: str) -> Begun:
        """Stores question and pending answer and reads the newest messages, the question among them.

        Without a conversation a new one is begun. Raises NotFound for one that is not the user's,
        Conflict while another answer of it is being written, Unavailable.
        """
        answer_id = uuid4()
        begun = _outcomes.decode(
            await self._database.call(
                "select app.begin_turn(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)::text",
                (
                    user_id,
                    conversation_id,
                    uuid4(),
                    uuid4(),
                    answer_id,
                    question,
                    costs.estimate_tokens(question),
                    model,
                    self._history_messages,
                    _LEASE,
                ),
            )
        )
        if begun.outcome == "not_found":
            raise NotFound("no such conversation")
        if begun.outcome == "conflict":
            raise Conflict("another answer is being written in this conversation")
        assert begun.conversation_id is not None
        return Begun(user_id, begun.conversation_id, answer_id, begun.history)

    async def finish(self, settlement: Settlement) -> str | None:
        """Commits a turn's end, unless it has one already, and returns the status that stands: this
        one, or that of whoever was first. Safe to repeat. Raises Unavailable when all attempts failed."""
        for pause in (*_SAVE_AGAIN_AFTER_SECONDS, None):
            try:
                status: str | None = await self._database.call(
                    "select app.finish_turn(%s, %s, %s, %s, %s, %s, %s)",
                    (
                        settlement.user_id,
                        settlement.answer_id,
                        settlement.status,
                        settlement.content,
                        settlement.token_count,
                        msgspec.json.encode(settlement.metadata).decode(),
                        msgspec.json.encode(settlement.usage).decode(),
                    ),
                )
            except Unavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return status
        raise AssertionError
