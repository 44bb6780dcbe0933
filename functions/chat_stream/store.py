"""The turn's SQL: every step of its life is one stored function, and so one round trip."""

import asyncio
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID, uuid4, uuid5

import msgspec
from msgspec import Struct

from functions.chat_stream.records import NewTurn, Settlement, StartedTurn, StoredAnswer
from functions.chat_stream.request import ConversationRef
from shared import costs, rate_limits
from shared.db import Database
from shared.errors import BudgetExceeded, ChatError, Conflict, IdempotencyMismatch, NotFound, Unavailable
from shared.events import Usage
from shared.ids import parse_uuid
from shared.llm.wire_format import ChatMessage
from shared.logs import logger
from shared.rate_limits import Rate
from shared.settings import Settings

# Renewed by every checkpoint, some fifteen times before it is over: a short absence of the database
# costs no answer, and a conversation is free again soon after its writer was killed.
_LEASE = "15 seconds"
# When the database is away for a moment.
_SAVE_AGAIN_AFTER_SECONDS = (0.5, 1.0, 2.0)
# A text that is to be kept stays in memory as long as Aurora's failover may take; the client hears
# heartbeats meanwhile. Tried often: past its lease, whoever reads the answer first settles it.
_PATIENCE_SECONDS = 30.0


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

    async def begin(self, turn: NewTurn, *, within: float) -> StartedTurn:
        """Begins a turn within so many seconds, and where it is stored, reads the newest messages, the
        question last.

        Raises RateLimited, NotFound for a conversation that is not the user's, Conflict while another
        answer of it is being written, IdempotencyMismatch, BudgetExceeded, and Unavailable, where the
        turn may have begun all the same: see `give_up`. Of what is refused, nothing is stored.
        """
        if turn.conversation is None:
            outcome = await self._call("begin_stateless_turn", self._common(turn), within)
        else:
            outcome = await self._call(
                "begin_turn", self._common(turn) | self._stored(turn, turn.conversation), within
            )
        if outcome.outcome not in {"begun", "repeated"} or outcome.answer_id is None:
            raise _refusal(outcome)
        return StartedTurn(
            user_id=turn.user_id,
            conversation_id=outcome.conversation_id,
            answer_id=outcome.answer_id,
            repeated=outcome.outcome == "repeated",
            history=outcome.history,
            rate=outcome.rate,
        )

    def _common(self, turn: NewTurn) -> dict[str, Any]:
        of_input, of_output, priced = _prices(turn.model)
        limit = self._settings.rate_limit_chat
        return {
            "user_id": turn.user_id,
            "answer_id": turn.answer_id,
            "key": turn.idempotency_key,
            "hash": turn.request_hash if turn.idempotency_key is not None else None,
            "model": turn.model,
            "max_tokens": turn.max_tokens,
            "usd_per_input": of_input,
            "usd_per_output": of_output,
            "priced": priced,
            "lease": _LEASE,
            "rate_limit": limit.requests,
            "rate_window": limit.seconds,
            "budget": self._settings.budget_usd_per_day,
            **({"prompt_tokens": turn.prompt_tokens} if turn.conversation is None else {}),
        }

    def _stored(self, turn: NewTurn, conversation: ConversationRef) -> dict[str, Any]:
        named = None if conversation.name is None else conversation_named(turn.user_id, conversation.name)
        return {
            "conversation_id": conversation.conversation_id or named,
            "new_id": named or uuid4(),
            "create": named is not None,
            "replaces": conversation.replaces,
            "question_id": uuid4(),
            "question": turn.question,
            "system_tokens": turn.system_tokens,
            "history_limit": self._settings.history_messages,
        }

    async def _call(self, function: str, given: Mapping[str, Any], within: float) -> _Outcome:
        query = _query(function, tuple(given))
        return _outcomes.decode(await self._database.call(query, tuple(given.values()), within=within))

    async def cancel_unconfirmed_begin(self, turn: NewTurn) -> None:
        """Ends a turn of which nobody knows whether it began: no model will be asked."""
        error = Unavailable("the database did not say whether the turn began")
        begun = StartedTurn(user_id=turn.user_id, answer_id=turn.answer_id)
        await self.finish(Settlement.without_answer(begun, error, []))

    async def checkpoint(self, begun: StartedTurn, content: str | None) -> str | None:
        """Saves the text so far (None: as before) and renews the lease. Returns "running", "cancel"
        when the user wants it to stop, or how the turn ended, if somebody else settled it."""
        state: str | None = await self._database.call(
            "select app.checkpoint_turn(%s, %s, %s, %s)", (begun.user_id, begun.answer_id, content, _LEASE)
        )
        return state

    async def finish(
        self, settlement: Settlement, deadline: float | None = None, *, patient: bool = False
    ) -> str | None:
        """Commits a turn's end, unless it has one already, and returns the status that stands: this
        one, or that of whoever was first. Safe to repeat. Raises Unavailable when all attempts failed,
        which takes longer if `patient`, or at `deadline`, in the loop's time, less the second that it
        takes to tell the client."""
        last = float("inf") if deadline is None else deadline - 1
        if patient:
            last = min(last, asyncio.get_running_loop().time() + _PATIENCE_SECONDS)
        try:
            async with asyncio.timeout_at(None if last == float("inf") else last):
                return await self._finish(settlement, patient=patient)
        except TimeoutError:
            raise Unavailable("the database did not answer while there was time") from None

    async def _finish(self, settlement: Settlement, *, patient: bool) -> str | None:
        more = itertools.repeat(_SAVE_AGAIN_AFTER_SECONDS[-1]) if patient else (None,)
        for pause in itertools.chain(_SAVE_AGAIN_AFTER_SECONDS, more):
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
        answer: str | None = await self._database.call(
            "select app.read_answer(%s, %s, %s)::text", (user_id, answer_id, offset)
        )
        if answer is None:
            raise NotFound("no such message")
        return _answers.decode(answer)

    async def running_answer(self, user_id: UUID, name: str) -> UUID | None:
        """The answer that is being written in the conversation that a client calls so, if one is."""
        for conversation_id in (parse_uuid(name), conversation_named(user_id, name)):
            if conversation_id is not None:
                answer_id: UUID | None = await self._database.call(
                    "select app.running_answer(%s, %s)", (user_id, conversation_id)
                )
                if answer_id is not None:
                    return answer_id
        return None


class BestEffortStore(TurnStore):
    """For a format whose answers go on when they cannot be stored: a fault is logged, and forgotten."""

    async def checkpoint(self, begun: StartedTurn, content: str | None) -> str | None:
        try:
            return await super().checkpoint(begun, content) or "running"
        except Unavailable:
            return "running"

    async def finish(
        self,
        settlement: Settlement,
        deadline: float | None = None,
        *,
        patient: bool = False,  # noqa: ARG002 (nobody waits for what need not be stored)
    ) -> str | None:
        try:
            if await super().finish(settlement, deadline) is None:
                # It could not begin, but it was answered: that cost something.
                await self._database.call(
                    "select app.log_unstored_usage(%s, %s, %s)",
                    (
                        settlement.user_id,
                        settlement.answer_id,
                        msgspec.json.encode(settlement.usage).decode(),
                    ),
                )
        except Unavailable:
            logger.exception("an answer was given and could not be stored")
        return settlement.status


def conversation_named(user_id: UUID, name: str) -> UUID:
    """The id of a conversation that a client named itself: any name, and never another user's id."""
    return uuid5(user_id, f"conversation {name}")


def _refusal(outcome: _Outcome) -> ChatError:
    match outcome.outcome:
        case "rate_limited":
            assert outcome.rate is not None
            return rate_limits.refusal("chat", outcome.rate)
        case "budget_exceeded":
            return BudgetExceeded(
                "today's budget is used up; it renews at midnight UTC", retry_after=outcome.renews_in
            )
        case "repeated":
            return Conflict("this idempotency key was used, and the answer is not kept on this route")
        case "mismatch":
            return IdempotencyMismatch("this idempotency key was used for another request")
        case "conflict":
            return Conflict("another answer is being written in this conversation")
        case _:
            return NotFound("no such conversation")


@lru_cache(maxsize=64)
def _query(function: str, names: tuple[str, ...]) -> str:
    return f"select app.{function}({', '.join(f'p_{name} => %s' for name in names)})::text"


@lru_cache(maxsize=64)
def _prices(model: str) -> tuple[Any, Any, bool]:
    """What a token of input and of output costs in USD, and whether that is known."""
    provider, _, name = model.partition("/")
    of_input = costs.cost(provider, name, Usage(input=1, output=0))
    return of_input.usd, costs.cost(provider, name, Usage(input=0, output=1)).usd, of_input.priced
