"""Starts a turn: from a client's request to the response.

Errors before the response have an HTTP status. Later errors are events of the stream.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from hashlib import sha256
from uuid import uuid4

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from functions.chat_stream.answer_response import (
    ChatResponse,
    answer_response,
    end_response,
    replay_response,
)
from functions.chat_stream.authentication import Caller
from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.json_response import dialect_error_response
from functions.chat_stream.model_start import StoppedAnswer, start_model
from functions.chat_stream.prompt.build_prompt import DEFAULT_MAX_TOKENS, build_prompt
from functions.chat_stream.prompt.history_window import history_limits
from functions.chat_stream.prompt.system_prompt import system_prompt
from functions.chat_stream.records import NewTurn, Settlement, StartedTurn, UsageRow
from functions.chat_stream.request import EventId, TurnRequest, idempotency_key, last_event_id
from functions.chat_stream.services import ChatServices
from functions.chat_stream.stop_wait import begin_after_stop
from functions.chat_stream.timeouts import Timeouts
from functions.chat_stream.turn import Turn
from functions.chat_stream.turn_log import TurnLog
from shared import costs, rate_limits
from shared.errors import ChatError, Unavailable
from shared.llm.client import NoAnswer
from shared.llm.model_answer import FailedAttempt, ModelAnswer
from shared.llm.providers import find_target
from shared.llm.wire_format import ChatRequest
from shared.logs import logger
from shared.web import read_body


async def start_turn(services: ChatServices, dialect: Dialect, request: Request) -> ChatResponse:
    """Handles a POST in one dialect. Returns a response with the answer, or with an error."""
    start = _TurnStart(services, dialect, request)
    try:
        return await start.response()
    except ChatError as error:
        return start.error_response(error)
    except Exception:
        logger.exception("request failed")
        return start.error_response(ChatError("internal error"))


class _TurnStart:
    """Starts one turn. `response` calls the steps in order; the longer steps are methods below it."""

    def __init__(self, services: ChatServices, dialect: Dialect, request: Request) -> None:
        self._services = services
        self._dialect = dialect
        self._request = request
        self._store = services.store if dialect.requires_storage else services.best_effort_store
        self._timeouts = Timeouts.from_scope(services.settings, request.scope)
        self._log = TurnLog(
            dialect.route,
            self._timeouts.arrived_at,
            active_turns=lambda: services.background.active_turns,
            tracer=services.tracer,
        )
        self._last_event: EventId | None = None  # of the answer that a repeated request continues
        # Saves that may still run when an error response is sent. They are awaited after the response.
        self._unfinished_saves: list[asyncio.Task[object]] = []

    async def response(self) -> ChatResponse:
        """Raises ChatError for a request that is refused."""
        services, dialect = self._services, self._dialect
        caller = await services.authentication.caller(self._request, token_optional=dialect.allows_anonymous)
        body = await read_body(self._request, limit=dialect.max_body_bytes)
        turn_request = dialect.parse(body)
        if dialect.description.events.has_ids:
            self._last_event = last_event_id(self._request)
        if self._last_event is not None and self._last_event.is_end:
            return end_response()
        models = services.model_choice.resolve(turn_request.model)
        # Chosen before the turn begins, because the tokens of the system prompt count for the budget.
        system = system_prompt(turn_request, services.system_prompt)
        # Budgets are reserved for the dearest model, and settled with the price of the model that answers.
        new_turn = self._new_turn(turn_request, body, caller, models, system)
        started = await self._begin(new_turn)
        if started.repeated:
            return await self._replay(turn_request, started)
        chat_request = build_prompt(turn_request, started, system, new_turn.history)
        answer = await self._ask_model(
            chat_request, models, started, is_choice=turn_request.model is not None
        )
        return self._run_turn(turn_request, started, answer)

    def error_response(self, error: ChatError) -> Response:
        """Logs the error and returns it as a response of this dialect."""
        self._log.write_refused(error)
        response = dialect_error_response(self._dialect, error)
        if self._unfinished_saves:
            response.background = BackgroundTask(asyncio.wait, self._unfinished_saves)
        return response

    def _new_turn(
        self, turn_request: TurnRequest, body: bytes, caller: Caller, models: tuple[str, ...], system: str
    ) -> NewTurn:
        # With an `Idempotency-Key` header the whole body must match on a retry. A key from the body (AI SDK
        # and named events) is made of ids and the question, so the other fields may change on a retry.
        question = turn_request.question
        key, hashed_content = idempotency_key(self._request), body
        if key is None and turn_request.idempotency_key is not None:
            key = sha256(turn_request.idempotency_key.encode()).hexdigest()
            hashed_content = question.encode()
        requested = turn_request.max_tokens or DEFAULT_MAX_TOKENS
        max_tokens = min(requested, max(costs.max_output(model, requested) for model in models))
        texts = [message.content for message in turn_request.messages]
        return NewTurn(
            user_id=caller.user_id,
            is_anonymous=caller.is_anonymous,
            answer_id=uuid4(),
            question=question,
            idempotency_key=key,
            request_hash=sha256(self._dialect.route.encode() + b"\n" + hashed_content).digest(),
            resumes=self._last_event is not None,
            models=models,
            system_tokens=costs.estimate_tokens(system),
            prompt_tokens=costs.estimate_tokens(system, *texts),
            system_bytes=costs.max_prompt_tokens(system),
            fixed_bytes=costs.max_prompt_tokens(system, question),
            prompt_bytes=costs.max_prompt_tokens(system, *texts),
            max_tokens=max_tokens,
            history=history_limits(self._services.settings, models[0], system=system, max_tokens=max_tokens),
            conversation=turn_request.conversation,
        )

    async def _begin(self, new_turn: NewTurn) -> StartedTurn:
        """Checks the rate limit and the budget, and stores the question and an empty answer, in one round
        trip."""
        try:
            with self._log.measure("begin"):
                begin = partial(self._store.begin, new_turn)
                started, self._timeouts = await begin_after_stop(begin, self._timeouts)
        except Unavailable:
            if not self._may_run_unstored(new_turn):
                # The database may have started the turn although its reply was lost. The turn is settled, so
                # that a retry can start. The strict store is used, so that an error of this save is logged.
                self._start_save(self._services.store.cancel_unconfirmed_begin(new_turn))
                raise
            logger.exception("turn not stored; it continues without storage")
            started = StartedTurn(user_id=new_turn.user_id, answer_id=new_turn.answer_id)
        if not started.repeated:  # a replay writes its own log line
            self._log.set_turn(started)
        return started

    def _may_run_unstored(self, new_turn: NewTurn) -> bool:
        """Whether the turn can continue without the database.

        False for stateless turns, for dialects that require storage, and with a budget, because only the
        database knows how much of the budget is left.
        """
        has_budget = self._services.settings.has_budget
        return not self._dialect.requires_storage and new_turn.conversation is not None and not has_budget

    async def _replay(self, turn_request: TurnRequest, started: StartedTurn) -> ChatResponse:
        """Returns the stored answer of this request, after the client's last event. No model is called."""
        return await replay_response(
            self._services,
            self._dialect,
            turn_request,
            user_id=started.user_id,
            answer_id=started.answer_id,
            timeouts=self._timeouts,
            last_event=self._last_event,
        )

    async def _ask_model(
        self, chat_request: ChatRequest, models: tuple[str, ...], started: StartedTurn, *, is_choice: bool
    ) -> ModelAnswer | StoppedAnswer:
        """Asks the models and returns the first answer. If no model answers, settles the turn and raises the
        last error. `is_choice`: the client named the first model."""
        reserve = None if started.max_tokens is None else partial(self._reserve_attempt, started)
        try:
            with self._log.measure("model"):
                answer = await start_model(
                    partial(
                        self._services.model_client.start,
                        chat_request,
                        models,
                        self._timeouts.start_until,
                        reserve=reserve,
                        is_choice=is_choice,
                    ),
                    partial(self._store.checkpoint, started, None),
                )
        except NoAnswer as failure:
            failed_attempts = self._usage_rows(failure.failed_attempts)
            await self._settle_without_answer(started, failure.error, failed_attempts)
            raise failure.error from None
        if answer is None:
            target = find_target(models[0], self._services.settings.providers)
            return StoppedAnswer(target, chat_request)
        self._log.set_model(answer.target.name, models)
        return answer

    async def _reserve_attempt(self, started: StartedTurn, failed: FailedAttempt) -> bool:
        """Whether the budgets pay another attempt, although the failed one costs something too."""
        cost = costs.cost(failed.target.provider.name, failed.target.model, failed.usage)
        return await self._store.reserve_attempt(started, cost.usd)

    async def _settle_without_answer(
        self, started: StartedTurn, error: ChatError, rows: list[UsageRow]
    ) -> None:
        """Keeps the question, and stores the answer as an `error`.

        The turn is settled before the client gets the error, so that a retry finds no running answer. The
        client waits for the save until 2.9 s after the request arrived (`seconds_to_respond`). A slower save
        continues after the response.
        """
        save = self._start_save(self._store.finish(Settlement.without_answer(started, error, rows)))
        with self._log.measure("finish"):
            await asyncio.wait({save}, timeout=self._timeouts.seconds_to_respond())
        self._log.write_no_answer(error, rows)
        error.headers.update({"X-Message-Id": str(started.answer_id), **_turn_headers(started)})

    def _run_turn(
        self, turn_request: TurnRequest, started: StartedTurn, answer: ModelAnswer | StoppedAnswer
    ) -> ChatResponse:
        """Starts the turn as a background task and returns the response that sends the turn's events."""
        turn = Turn(
            started,
            answer,
            failed_attempts=self._usage_rows(answer.failed_attempts),
            timeouts=self._timeouts,
            store=self._store,
            log=self._log,
        )
        if isinstance(answer, StoppedAnswer):
            turn.cancel()
        producer = self._services.background.run_turn(turn)
        return answer_response(
            self._services,
            self._dialect,
            turn_request,
            turn.events,
            producer,
            answer_id=started.answer_id,
            model=answer.target.name,
            headers=_turn_headers(started),
            on_disconnect=turn.cancel if self._dialect.stops_on_disconnect else None,
        )

    def _start_save(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        task = self._services.background.run_save(coroutine)
        self._unfinished_saves.append(task)
        return task

    def _usage_rows(self, attempts: Sequence[FailedAttempt]) -> list[UsageRow]:
        duration = asyncio.get_running_loop().time() - self._timeouts.arrived_at
        return [
            UsageRow.from_usage(attempt.target, attempt.usage, status="error", duration=duration)
            for attempt in attempts
        ]


def _turn_headers(started: StartedTurn) -> dict[str, str]:
    headers = rate_limits.headers("chat", started.rate_limit) if started.rate_limit else {}
    if started.conversation_id is not None:
        headers["X-Conversation-Id"] = str(started.conversation_id)
    return headers
