"""The routes of the chat function: what happens between a request and the first byte of its answer.

All that can be refused with a status is refused here, before the model is asked or, where the model
refuses, before the client's stream begins.
"""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.chat_stream import request_reader
from functions.chat_stream.answer_replay import AnswerReplay
from functions.chat_stream.background_tasks import BackgroundTasks
from functions.chat_stream.dialects import DIALECTS, NATIVE, OPENAI, UI, openai_chat
from functions.chat_stream.dialects.base import AnswerMeta, Dialect
from functions.chat_stream.records import NewTurn, Settlement, StartedTurn
from functions.chat_stream.request import TurnRequest, last_event_id
from functions.chat_stream.request_reader import RequestReader
from functions.chat_stream.sse_response import Answer, Reply
from functions.chat_stream.store import BestEffortStore, TurnStore, parse_uuid
from functions.chat_stream.turn import Clocks, Turn
from functions.chat_stream.turn_log import TurnLog
from functions.chat_stream.usage import UsageRow
from shared import rate_limits, web
from shared.errors import ChatError, InvalidRequest, NotFound, Unavailable
from shared.llm.client import FailedAttempt, ModelClient, NoAnswer
from shared.logs import logger
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.tracing import Tracer

# When a client must have heard of a model that is not there, with a little left for the way back.
_PROMISED_SECONDS = 2.9
# Who resumes has asked already.
_RESUMING = TurnRequest(messages=())


class ChatRoutes:
    """Everything that a turn needs, wired by `app.py`."""

    def __init__(
        self,
        settings: Settings,
        *,
        asking: RequestReader,
        store: TurnStore,
        forgiving: BestEffortStore,
        models: ModelClient,
        running: BackgroundTasks,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._settings = settings
        self._asking = asking
        self._store = store
        self._forgiving = forgiving
        self._models = models
        self._running = running
        self._tracer = tracer

    def routes(self) -> list[Route]:
        return [
            *(Route(d.route, partial(self.chat, d), methods=["POST"]) for d in DIALECTS),
            Route("/api/chat/messages/{id}/stream", self.resume, methods=["GET"]),
            Route("/api/ui/chat/{id}/stream", self.resume_ui, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def health(self, _: Request) -> Response:
        return web.json_response({"status": "ok"})

    async def models(self, request: Request) -> Response:
        try:
            await self._asking.caller(request, stateless=True)
        except ChatError as error:
            web.log_refusal(error)
            return _refusal(OPENAI, error)
        return web.json_response(openai_chat.models(self._asking.choice.names, created=0))

    async def resume(self, request: Request) -> Answer:
        """What an answer has beyond `Last-Event-ID`, up to its end; from its beginning without one."""
        user_id = await self._asking.caller(request)
        answer_id = parse_uuid(request.path_params["id"])
        if answer_id is None:
            raise NotFound("no such message")
        offset = last_event_id(request)
        stored = await self._store.read(user_id, answer_id, offset)
        if offset > stored.length and stored.status == "complete":
            raise InvalidRequest("Last-Event-ID is beyond the end of this answer", field="Last-Event-ID")
        deadline = request_reader.clocks(self._settings, request.scope).deadline
        follower = AnswerReplay(
            self._store, user_id=user_id, answer_id=answer_id, first=stored, offset=offset, deadline=deadline
        )
        return self._follow(self._reply(NATIVE, _RESUMING), follower)

    async def resume_ui(self, request: Request) -> Answer:
        """The running answer of a conversation from its beginning; 204 where none is running."""
        user_id = await self._asking.caller(request)
        answer_id = await self._store.running_answer(user_id, request.path_params["id"])
        if answer_id is None:
            return Response(status_code=204)
        begun = StartedTurn(user_id=user_id, answer_id=answer_id)
        clocks = request_reader.clocks(self._settings, request.scope)
        return await self._repeat(self._reply(UI, _RESUMING), begun, clocks)

    async def chat(self, dialect: Dialect, request: Request) -> Answer:
        """A turn, or its refusal, in the words of its format."""
        clocks = request_reader.clocks(self._settings, request.scope)
        turn_log = TurnLog(
            dialect.route,
            clocks.arrived_at,
            active=lambda: self._running.active,
            trace=self._tracer.trace() if self._tracer else None,
        )
        try:
            return await self._chat(dialect, request, clocks, turn_log)
        except ChatError as error:
            refusal = error
        except Exception:
            logger.exception("request failed")
            refusal = ChatError("something went wrong here")
        turn_log.refused(refusal)
        return _refusal(dialect, refusal)

    async def _chat(self, dialect: Dialect, request: Request, clocks: Clocks, turn_log: TurnLog) -> Answer:
        user_id = await self._asking.caller(request, stateless=dialect.stateless)
        body = await web.read_body(request, limit=dialect.max_body_bytes)
        ask = dialect.parse(body)
        models = self._asking.choice.resolve(ask.model)
        question = self._asking.question(request, dialect, ask, body=body, user_id=user_id, model=models[0])
        store = self._store if dialect.requires_storage else self._forgiving
        try:
            with turn_log.waiting("begin"):
                begun = await store.begin(question, within=_left(clocks))
        except Unavailable as error:
            if not self._goes_on_unstored(dialect, ask):
                turn_log.refused(error)
                return self._unknown(dialect, error, question)
            logger.exception("a turn could not be stored, and goes on")
            begun = StartedTurn(user_id=user_id, answer_id=question.answer_id)
        reply = self._reply(dialect, ask)
        if begun.repeated:
            return await self._repeat(reply, begun, clocks)
        turn_log.begun(begun)

        chat = self._asking.chat(ask, begun)
        try:
            deadline = clocks.arrived_at + self._settings.start_timeout
            with turn_log.waiting("model"):
                answer = await self._models.start(chat, models, deadline)
        except NoAnswer as failure:
            return await self._no_answer(dialect, failure, begun, clocks=clocks, turn_log=turn_log)
        turn_log.answers(answer.target, models)
        turn = Turn(
            answer,
            begun=begun,
            prompt_tokens=chat.estimated_tokens(),
            spent=_rows(answer.failed_attempts, clocks),
            clocks=clocks,
            store=store,
            turn_log=turn_log,
        )
        meta = AnswerMeta(str(begun.answer_id), answer.target.name, int(time.time()))
        return reply.to(turn.event_queue, self._running.start(turn), meta=meta, headers=_headers(begun))

    async def _repeat(self, reply: Reply, begun: StartedTurn, clocks: Clocks) -> Answer:
        stored = await self._store.read(begun.user_id, begun.answer_id, 0)
        follower = AnswerReplay(
            self._store,
            user_id=begun.user_id,
            answer_id=begun.answer_id,
            first=stored,
            offset=0,
            deadline=clocks.deadline,
        )
        return self._follow(reply, follower)

    def _follow(self, reply: Reply, follower: AnswerReplay) -> Answer:
        stored = follower.first
        model = stored.metadata.get("model", self._asking.choice.names[0])
        meta = AnswerMeta(str(follower.answer_id), model, int(time.time()))
        headers = {"X-Message-Id": meta.message_id, "X-Conversation-Id": str(stored.conversation_id)}
        writer = self._running.follow(follower)
        return reply.to(follower.event_queue, writer, meta=meta, headers=headers, offset=follower.offset)

    def _reply(self, dialect: Dialect, ask: TurnRequest) -> Reply:
        return Reply(
            dialect,
            ask,
            heartbeat=self._settings.stream_heartbeat,
            padding=self._settings.stream_padding,
        )

    def _goes_on_unstored(self, dialect: Dialect, ask: TurnRequest) -> bool:
        """Not where money is counted: without the database nobody knows how much is left."""
        return (
            not dialect.requires_storage
            and ask.conversation is not None
            and not self._settings.budget_usd_per_day
        )

    def _unknown(self, dialect: Dialect, error: ChatError, question: NewTurn) -> Response:
        """The refusal of a turn that may have begun: its reply may be all that was lost."""
        saving = self._running.save(self._store.cancel_unconfirmed_begin(question))
        response = _refusal(dialect, error)
        response.background = BackgroundTask(asyncio.wait, {saving})
        return response

    async def _no_answer(
        self,
        dialect: Dialect,
        failure: NoAnswer,
        begun: StartedTurn,
        *,
        clocks: Clocks,
        turn_log: TurnLog,
    ) -> Response:
        """The answer to a turn whose model never began. The question stays, the answer is an `error`.

        That is saved before the client is told, so that it may try again at once, unless the database
        takes longer than the client was promised to wait."""
        error, rows = failure.error, _rows(failure.failed_attempts, clocks)
        saving = self._running.save(self._store.finish(Settlement.without_answer(begun, error, rows)))
        with turn_log.waiting("finish"):
            await asyncio.wait({saving}, timeout=_left(clocks))
        turn_log.unanswered(error, rows)
        error.headers.update(_headers(begun))
        response = _refusal(dialect, error)
        response.background = BackgroundTask(asyncio.wait, {saving})
        return response


def _refusal(dialect: Dialect, error: ChatError) -> Response:
    return web.json_response(dialect.error(error), status=error.status, headers=error.headers)


def _headers(begun: StartedTurn) -> dict[str, str]:
    headers = {"X-Message-Id": str(begun.answer_id)}
    if begun.conversation_id is not None:
        headers["X-Conversation-Id"] = str(begun.conversation_id)
    return headers | (rate_limits.headers("chat", begun.rate) if begun.rate else {})


def _left(clocks: Clocks) -> float:
    """Seconds until the client must have heard something."""
    return max(0.05, clocks.arrived_at + _PROMISED_SECONDS - asyncio.get_running_loop().time())


def _rows(spent: tuple[FailedAttempt, ...], clocks: Clocks) -> list[UsageRow]:
    duration = asyncio.get_running_loop().time() - clocks.arrived_at
    return [UsageRow.of(each.target, each.usage, status="error", duration=duration) for each in spent]
