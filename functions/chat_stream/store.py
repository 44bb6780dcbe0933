"""The turn's SQL: every step of its life is one stored function, and so one round trip."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from functions.chat_stream.usage import UsageRow
from shared import costs, rate_limits
from shared.config import Settings
from shared.db import Database
from shared.errors import BudgetExceeded, ChatError, Conflict, IdempotencyMismatch, NotFound, Unavailable
from shared.events import Usage
from shared.llm.base import ChatMessage
from shared.rate_limits import Rate

Status: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]

# Renewed by every checkpoint, some fifteen times before it is over: a short absence of the database
# costs no answer, and a conversation is free again soon after its writer was killed.
_LEASE = "15 seconds"
# An answer is kept in memory this much longer when the database is away for a moment, as in a
# failover; the client hears heartbeats meanwhile.
_SAVE_AGAIN_AFTER_SECONDS = (0.5, 1.0, 2.0)


class Question(Struct, frozen=True, kw_only=True):
    """What a turn is begun with. `key` is the client's name for it, `request_hash` of what it asked;
    `model` is the first choice as `provider/model`; `system_tokens` and `max_tokens` bound the cost."""

    user_id: UUID
    conversation_id: UUID | None
    text: str
    key: str | None
    request_hash: bytes
    model: str
    system_tokens: int
    max_tokens: int


class Begun(Struct, frozen=True, kw_only=True):
    """A turn that is stored. `repeated`: it has run, or is running; nobody is to be asked again."""

    user_id: UUID
    conversation_id: UUID
    answer_id: UUID
    repeated: bool
    history: tuple[ChatMessage, ...]
    rate: Rate | None


class Settlement(Struct, frozen=True, kw_only=True):
    """All that is committed at the end of a turn."""

    user_id: UUID
    answer_id: UUID
    status: Status
    content: str
    token_count: int
    metadata: Mapping[str, Any]
    usage: list[UsageRow]

    @classmethod
    def without_answer(cls, begun: Begun, error: ChatError, usage: list[UsageRow]) -> "Settlement":
        """Of a turn that ended before any model began its answer."""
        return cls(
            user_id=begun.user_id,
            answer_id=begun.answer_id,
            status="error",
            content="",
            token_count=0,
            metadata={"code": error.code},
            usage=usage,
        )


class StoredUsage(Struct, frozen=True):
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    estimated: bool

    def as_event(self) -> Usage:
        return Usage(
            input=self.tokens_in,
            output=self.tokens_out,
            cache_read=self.tokens_cache_read,
            cache_write=self.tokens_cache_write,
            reasoning=self.tokens_reasoning,
            estimated=self.estimated,
        )


class StoredAnswer(Struct, frozen=True):
    """An answer from some character on. `length` is that of the whole text."""

    status: Literal["streaming", "complete", "cancelled", "interrupted", "error"]
    text: str
    length: int
    conversation_id: UUID
    metadata: Mapping[str, Any]
    usage: StoredUsage | None


class _Outcome(Struct):
    outcome: Literal[
        "begun", "repeated", "mismatch", "rate_limited", "not_found", "conflict", "budget_exceeded"
    ]
    conversation_id: UUID | None = None
    answer_id: UUID | None = None
    history: tuple[ChatMessage, ...] = ()
    rate: Rate | None = None
    renews_in: int = 0


_outcomes = msgspec.json.Decoder(_Outcome)
_answers = msgspec.json.Decoder(StoredAnswer)


class TurnStore:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def begin(self, question: Question) -> Begun:
        """Stores question and pending answer and reads the newest messages, the question last.

        Raises RateLimited, NotFound for a conversation that is not the user's, Conflict while another
        answer of it is being written, IdempotencyMismatch, BudgetExceeded, Unavailable. Of what is
        refused, nothing is stored.
        """
        input_price, output_price, priced = _prices(question.model)
        limit = self._settings.rate_limit_chat
        outcome = _outcomes.decode(
            await self._database.call(
                """
                select app.begin_turn(
                    p_user_id => %s, p_conversation_id => %s, p_new_id => %s, p_question_id => %s,
                    p_answer_id => %s, p_question => %s, p_key => %s, p_hash => %s, p_model => %s,
                    p_system_tokens => %s, p_max_tokens => %s, p_usd_per_input => %s,
                    p_usd_per_output => %s, p_priced => %s, p_history_limit => %s, p_lease => %s,
                    p_rate_limit => %s, p_rate_window => %s, p_budget => %s
                )::text
                """,
                (
                    question.user_id,
                    question.conversation_id,
                    uuid4(),
                    uuid4(),
                    uuid4(),
                    question.text,
                    question.key,
                    question.request_hash if question.key is not None else None,
                    question.model,
                    question.system_tokens,
                    question.max_tokens,
                    input_price,
                    output_price,
                    priced,
                    self._settings.history_messages,
                    _LEASE,
                    limit.requests,
                    limit.seconds,
                    self._settings.budget_usd_per_day,
                ),
            )
        )
        if outcome.outcome not in {"begun", "repeated"}:
            raise _refusal(outcome)
        assert outcome.conversation_id is not None
        assert outcome.answer_id is not None
        return Begun(
            user_id=question.user_id,
            conversation_id=outcome.conversation_id,
            answer_id=outcome.answer_id,
            repeated=outcome.outcome == "repeated",
            history=outcome.history,
            rate=outcome.rate,
        )

    async def checkpoint(self, begun: Begun, content: str | None) -> str | None:
        """Saves the text so far (None: as before) and renews the lease. Returns "running", "cancel"
        when the user wants it to stop, or how the turn ended, if somebody else settled it."""
        state: str | None = await self._database.call(
            "select app.checkpoint_turn(%s, %s, %s, %s)", (begun.user_id, begun.answer_id, content, _LEASE)
        )
        return state

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

    async def read(self, user_id: UUID, answer_id: UUID, offset: int) -> StoredAnswer:
        """The answer from its character `offset` on. Raises NotFound, Unavailable."""
        answer = await self._database.call(
            "select app.read_answer(%s, %s, %s)::text", (user_id, answer_id, offset)
        )
        if answer is None:
            raise NotFound("no such message")
        return _answers.decode(answer)


def _refusal(outcome: _Outcome) -> ChatError:
    match outcome.outcome:
        case "rate_limited":
            assert outcome.rate is not None
            return rate_limits.refusal("chat", outcome.rate)
        case "budget_exceeded":
            return BudgetExceeded(
                "today's budget is used up; it renews at midnight UTC", retry_after=outcome.renews_in
            )
        case "mismatch":
            return IdempotencyMismatch("this idempotency key was used for another request")
        case "conflict":
            return Conflict("another answer is being written in this conversation")
        case _:
            return NotFound("no such conversation")


def _prices(model: str) -> tuple[Any, Any, bool]:
    """What a token of input and of output costs in USD, and whether that is known."""
    provider, _, name = model.partition("/")
    of_input = costs.cost(provider, name, Usage(input=1, output=0))
    return of_input.usd, costs.cost(provider, name, Usage(input=0, output=1)).usd, of_input.priced
