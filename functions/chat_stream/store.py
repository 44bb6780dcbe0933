"""The database calls of a turn. Each step is one call of a stored function, which is one round trip.

A stored function takes one JSON document, whose fields are described in its file.
"""

import asyncio
import itertools
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from functions.chat_stream.records import NewTurn, Settlement, StartedTurn, StoredAnswer
from functions.chat_stream.request import ConversationRef
from shared import costs, rate_limits
from shared.db import Database, json_argument
from shared.errors import BudgetExceeded, ChatError, Conflict, IdempotencyMismatch, NotFound, Unavailable
from shared.events import Usage
from shared.ids import derive_conversation_id, parse_uuid
from shared.llm.wire_format import ChatMessage
from shared.logs import logger
from shared.rate_limits import RateLimitState
from shared.settings import Settings

# Longer messages, which only imports can have, are cut in the prompt. The limit of a question.
_MAX_HISTORY_CHARACTERS = 32_000
# A checkpoint every 0.8 s renews the lease. 15 s is long enough to survive a short outage of the database,
# and short enough to free a conversation soon after its process was killed.
_LEASE = "15 seconds"
# The pauses between attempts to save, in seconds.
_SAVE_BACKOFF_SECONDS = (0.5, 1.0, 2.0)
# How long a save of an answer is tried again: as long as a failover of Aurora takes. The client gets
# heartbeats during this time. The save is tried every 2 s, because once the lease has expired, the next
# request settles the turn as interrupted.
_FAILOVER_SECONDS = 30.0


_CONFLICTS = {
    "repeated": "this idempotency key was used before, and this route stores no answers",
    "not_resumable": "there is no answer to continue: send the request without Last-Event-ID",
    "conflict": "another answer is being written in this conversation",
}
_RETRY_SOON = {"Retry-After": "1"}


class StoppingAnswer(Conflict):
    """The user has stopped the running answer of the conversation, and it is not settled yet."""


class _Outcome(Struct):
    outcome: Literal[
        "started",
        "repeated",
        "mismatch",
        "not_resumable",
        "stopping",
        "rate_limited",
        "not_found",
        "conflict",
        "budget_exceeded",
    ]
    conversation_id: UUID | None = None
    answer_id: UUID | None = None
    # null for a stateless turn.
    history: tuple[ChatMessage, ...] | None = None
    message_count: int | None = None
    max_tokens: int | None = None
    prompt_bytes: int | None = None
    rate: RateLimitState | None = None
    renews_in: int = 0


_outcomes = msgspec.json.Decoder(_Outcome)
_answers = msgspec.json.Decoder(StoredAnswer)


class TurnStore:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def begin(self, new_turn: NewTurn, *, within: float) -> StartedTurn:
        """Starts a turn and returns its history, with the question last. The history of a stateless turn is
        empty. Waits `within` seconds at most.

        Raises RateLimited, NotFound if the user has no such conversation or no such answer to regenerate,
        Conflict while another answer of the conversation is being written, if the key was used on a route
        that stores no answers, or if there is no answer to resume, StoppingAnswer, IdempotencyMismatch,
        BudgetExceeded, and Unavailable. After Unavailable the turn may have started: see
        `cancel_unconfirmed_begin`. A refused turn stores no question and no answer. It still counts for the
        rate limit.
        """
        if new_turn.conversation is None:
            query, request = "select $functions.begin_stateless_turn(%s)::text", self._common_fields(new_turn)
            request |= {
                "prompt_tokens": new_turn.prompt_tokens,
                "prompt_bytes": new_turn.prompt_bytes,
                "fixed_bytes": new_turn.fixed_bytes,
            }
        else:
            query, request = "select $functions.begin_turn(%s)::text", self._common_fields(new_turn)
            request |= self._conversation_fields(new_turn, new_turn.conversation)
        outcome = _outcomes.decode(await self._database.call(query, (json_argument(request),), within=within))
        if outcome.outcome not in {"started", "repeated"} or outcome.answer_id is None:
            raise _outcome_error(outcome)
        return StartedTurn(
            user_id=new_turn.user_id,
            conversation_id=outcome.conversation_id,
            answer_id=outcome.answer_id,
            repeated=outcome.outcome == "repeated",
            history=outcome.history or (),
            message_count=outcome.message_count or 0,
            max_tokens=outcome.max_tokens,
            prompt_bytes=outcome.prompt_bytes,
            is_budget_limited=outcome.max_tokens is not None and outcome.max_tokens < new_turn.max_tokens,
            rate_limit=outcome.rate,
        )

    def _common_fields(self, new_turn: NewTurn) -> dict[str, Any]:
        model = new_turn.models[0]
        usd_per_input, usd_per_output, priced = _prices(model)
        limit = self._settings.rate_limit_chat
        return {
            "user_id": new_turn.user_id,
            "answer_id": new_turn.answer_id,
            "idempotency_key": new_turn.idempotency_key,
            "request_hash": new_turn.request_hash.hex(),
            "resumes": new_turn.resumes,
            "waits_for_stop": True,
            "model": model,
            "max_tokens": new_turn.max_tokens,
            "usd_per_input": usd_per_input,
            "usd_per_output": usd_per_output,
            "priced": priced,
            "lease": _LEASE,
            "rate_limit": limit.requests,
            "rate_window": limit.seconds,
            "prices": costs.upper_prices(new_turn.models),
            **self._budgets(is_anonymous=new_turn.is_anonymous),
        }

    def _budgets(self, *, is_anonymous: bool) -> dict[str, Decimal]:
        settings = self._settings
        return {
            "budget": settings.budget_usd_per_day,
            "budget_anonymous": settings.budget_usd_per_day_anonymous if is_anonymous else Decimal(0),
            "budget_total": settings.budget_usd_per_day_total,
        }

    def _conversation_fields(self, new_turn: NewTurn, conversation: ConversationRef) -> dict[str, Any]:
        derived_id = (
            None
            if conversation.external_id is None
            else derive_conversation_id(new_turn.user_id, conversation.external_id)
        )
        return {
            "conversation_id": conversation.conversation_id or derived_id,
            "new_conversation_id": derived_id or uuid4(),
            "create_missing": derived_id is not None,
            "replaces": conversation.replaces,
            "question_id": uuid4(),
            "question": new_turn.question,
            "system_tokens": new_turn.system_tokens,
            "system_bytes": new_turn.system_bytes,
            "history_limit": new_turn.history.messages,
            "history_step": new_turn.history.step,
            "history_bytes": new_turn.history.text_bytes,
            "history_characters": _MAX_HISTORY_CHARACTERS,
        }

    async def cancel_unconfirmed_begin(self, new_turn: NewTurn) -> None:
        """Settles a turn as `error` if `begin` has started it. Called when the reply of `begin` was lost."""
        error = Unavailable("the database did not confirm the start of the turn")
        started = StartedTurn(user_id=new_turn.user_id, answer_id=new_turn.answer_id)
        await self.finish(Settlement.without_answer(started, error, []))

    async def reserve_attempt(self, started: StartedTurn, usd: Decimal) -> bool:
        """Adds the cost of a failed attempt to the reservation of a turn, before the next attempt. Returns
        False if the budgets do not pay another attempt, or if the database does not answer."""
        request = {
            "user_id": started.user_id,
            "answer_id": started.answer_id,
            "usd": usd,
            # The turn knows in which budgets it has a reservation.
            **self._budgets(is_anonymous=True),
        }
        try:
            is_reserved: bool = await self._database.call(
                "select $functions.reserve_attempt(%s)", (json_argument(request),)
            )
        except Unavailable:
            logger.exception("another attempt could not be reserved")
            return False
        return is_reserved

    async def checkpoint(
        self, started: StartedTurn, content: str | None, model: str | None = None
    ) -> str | None:
        """Saves the text so far (None: unchanged) with the model that answers, and renews the lease. Returns
        "running", "cancel" if the user asked the turn to stop, the final status if another process settled
        the turn, or None if the database has no such turn."""
        request = {
            "user_id": started.user_id,
            "answer_id": started.answer_id,
            "content": content,
            "model": model,
            "lease": _LEASE,
        }
        state: str | None = await self._database.call(
            "select $functions.checkpoint_turn(%s)", (json_argument(request),)
        )
        return state

    async def finish(
        self, settlement: Settlement, deadline: float | None = None, *, wait_for_failover: bool = False
    ) -> str | None:
        """Settles a turn once. Returns the turn's final status, which differs from `settlement.status` if
        another process settled the turn before, or None if there is no such turn. Safe to repeat.

        Raises Unavailable after the last try, or one second before `deadline` (in the event loop's time), so
        that the client still gets an error. `wait_for_failover`: keeps trying for up to 30 s."""
        give_up_at = float("inf") if deadline is None else deadline - 1
        if wait_for_failover:
            give_up_at = min(give_up_at, asyncio.get_running_loop().time() + _FAILOVER_SECONDS)
        try:
            async with asyncio.timeout_at(None if give_up_at == float("inf") else give_up_at):
                return await self._finish(settlement, wait_for_failover=wait_for_failover)
        except TimeoutError:
            raise Unavailable("the database did not answer in time") from None

    async def _finish(self, settlement: Settlement, *, wait_for_failover: bool) -> str | None:
        further_pauses = itertools.repeat(_SAVE_BACKOFF_SECONDS[-1]) if wait_for_failover else (None,)
        for pause in itertools.chain(_SAVE_BACKOFF_SECONDS, further_pauses):
            try:
                status: str | None = await self._database.call(
                    "select $functions.finish_turn(%s)", (json_argument(settlement),)
                )
            except Unavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return status
        raise AssertionError

    async def read(self, user_id: UUID, answer_id: UUID, offset: int) -> StoredAnswer:
        """Reads an answer from character `offset` on. Raises NotFound, Unavailable."""
        request = {"user_id": user_id, "answer_id": answer_id, "offset": offset}
        answer: str | None = await self._database.call(
            "select $functions.read_answer(%s)::text", (json_argument(request),)
        )
        if answer is None:
            raise NotFound("no such message")
        return _answers.decode(answer)

    async def running_answer(self, user_id: UUID, conversation: str) -> UUID | None:
        """The id of the running answer of a conversation, or None. `conversation` is its id, or the
        client's own id for it."""
        for conversation_id in (parse_uuid(conversation), derive_conversation_id(user_id, conversation)):
            if conversation_id is not None:
                request = {"user_id": user_id, "conversation_id": conversation_id}
                answer_id: UUID | None = await self._database.call(
                    "select $functions.running_answer(%s)", (json_argument(request),)
                )
                if answer_id is not None:
                    return answer_id
        return None


class BestEffortStore(TurnStore):
    """For dialects whose answers continue without storage. `begin` raises database errors; `checkpoint` and
    `finish` do not."""

    async def checkpoint(
        self, started: StartedTurn, content: str | None, model: str | None = None
    ) -> str | None:
        try:
            return await super().checkpoint(started, content, model) or "running"
        except Unavailable:
            return "running"

    async def finish(
        self,
        settlement: Settlement,
        deadline: float | None = None,
        *,
        wait_for_failover: bool = False,  # noqa: ARG002 (these answers may be lost in a failover)
    ) -> str | None:
        """Always returns `settlement.status`: the client gets its answer even if it could not be stored."""
        try:
            if await super().finish(settlement, deadline) is None:
                # The database has no such turn, but a model has answered. Its usage is stored.
                request = {
                    "user_id": settlement.user_id,
                    "answer_id": settlement.answer_id,
                    "usage": settlement.usage,
                }
                await self._database.call(
                    "select $functions.log_unstored_usage(%s)", (json_argument(request),)
                )
        except Unavailable:
            logger.exception("answer could not be stored")
        return settlement.status


def _outcome_error(outcome: _Outcome) -> ChatError:
    match outcome.outcome:
        case "rate_limited":
            assert outcome.rate is not None
            return rate_limits.rate_limited_error("chat", outcome.rate)
        case "budget_exceeded":
            return BudgetExceeded(
                "the daily budget is used up; a new one starts at midnight UTC", retry_after=outcome.renews_in
            )
        case "mismatch":
            return IdempotencyMismatch("this idempotency key was used for another request")
        case "stopping":
            return StoppingAnswer(_CONFLICTS["conflict"], headers=_RETRY_SOON)
        case "not_found":
            return NotFound("no such conversation")
        case kind:
            return Conflict(_CONFLICTS[kind], headers=_RETRY_SOON if kind == "conflict" else None)


@lru_cache(maxsize=64)
def _prices(model: str) -> tuple[Any, Any, bool]:
    """The USD price of one input token and of one output token, and whether the prices are known."""
    provider, _, name = model.partition("/")
    usd_per_input = costs.cost(provider, name, Usage(input=1, output=0))
    return usd_per_input.usd, costs.cost(provider, name, Usage(input=0, output=1)).usd, usd_per_input.priced
