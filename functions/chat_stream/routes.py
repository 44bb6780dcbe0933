"""The routes of the chat function: what happens between a request and the first byte of its answer.

All that can be refused with a status is refused here, before the model is asked or, where the model
refuses, before the client's stream begins.
"""

import asyncio
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.chat_stream.dialects import DIALECTS, NATIVE
from functions.chat_stream.dialects.base import Ask, Dialect, Encoder
from functions.chat_stream.follower import Follower
from functions.chat_stream.outbox import Outbox
from functions.chat_stream.response import EventStream
from functions.chat_stream.running import Running
from functions.chat_stream.store import Begun, Question, Settlement, TurnStore
from functions.chat_stream.turn import Clocks, Turn
from functions.chat_stream.usage import UsageRow
from shared import costs, http, rate_limits
from shared.asgi import Scope
from shared.auth import TokenVerifier
from shared.config import Settings
from shared.errors import ChatError, InvalidRequest, NotFound
from shared.llm.base import ChatRequest
from shared.llm.client import ModelClient, Spent
from shared.logs import logger

_DEFAULT_TEMPERATURE = 0.7
_DEFAULT_MAX_TOKENS = 4096
# When a client must have heard of a model that is not there, with a little left for the way back.
_PROMISED_SECONDS = 2.9


class ChatRoutes:
    """Everything that a turn needs, wired by `app.py`."""

    def __init__(
        self,
        settings: Settings,
        *,
        verifier: TokenVerifier,
        store: TurnStore,
        models: ModelClient,
        running: Running,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._store = store
        self._models = models
        self._running = running
        self._system_prompt = settings.system_prompt or _coach()

    def routes(self) -> list[Route]:
        turns = [Route(d.route, partial(self.chat, d), methods=["POST"]) for d in DIALECTS]
        resume = Route("/api/chat/messages/{id}/stream", self.resume, methods=["GET"])
        return [*turns, resume, Route("/health", self.health, methods=["GET"])]

    async def health(self, _: Request) -> Response:
        return http.json_response({"status": "ok"})

    async def chat(self, dialect: Dialect, request: Request) -> Response | EventStream:
        clocks = self._clocks(request.scope)
        user_id = await self._caller(request)
        body = await http.read_body(request)
        ask = dialect.parse(body)
        models = self._models_for(ask)
        question = Question(
            user_id=user_id,
            conversation_id=ask.conversation_id,
            text=ask.question,
            key=_idempotency_key(request),
            request_hash=sha256(dialect.route.encode() + b"\n" + body).digest(),
            model=models[0],
            system_tokens=costs.estimate_tokens(self._system_prompt),
            max_tokens=ask.max_tokens or _DEFAULT_MAX_TOKENS,
        )
        begun = await self._store.begin(question)
        if begun.repeated:
            return await self._follow(dialect, request, user_id, begun.answer_id, offset=0)
        chat = self._prompt(ask, begun)
        spent: list[Spent] = []
        try:
            deadline = clocks.arrived_at + self._settings.start_timeout
            answer = await self._models.start(chat, models, deadline, spent)
        except ChatError as error:
            return await self._refuse(error, begun, clocks, spent)
        turn = Turn(
            answer,
            begun=begun,
            prompt_tokens=_estimate(chat),
            spent=_rows(spent, clocks),
            clocks=clocks,
            store=self._store,
        )
        return self._stream(turn.outbox, dialect.encoder(), self._running.start(turn), _headers(begun))

    async def resume(self, request: Request) -> EventStream:
        """What an answer has beyond `Last-Event-ID`, up to its end; from its beginning without one."""
        user_id = await self._caller(request)
        try:
            answer_id = UUID(request.path_params["id"])
        except ValueError:
            raise NotFound("no such message") from None
        offset = _last_event_id(request)
        return await self._follow(NATIVE, request, user_id, answer_id, offset=offset)

    async def _follow(
        self, dialect: Dialect, request: Request, user_id: UUID, answer_id: UUID, *, offset: int
    ) -> EventStream:
        stored = await self._store.read(user_id, answer_id, offset)
        if offset > stored.length and stored.status == "complete":
            raise InvalidRequest("Last-Event-ID is beyond the end of this answer", field="Last-Event-ID")
        deadline = self._clocks(request.scope).deadline
        follower = Follower(
            self._store,
            user_id=user_id,
            answer_id=answer_id,
            first=stored,
            offset=offset,
            deadline=deadline,
        )
        headers = {"X-Message-Id": str(answer_id), "X-Conversation-Id": str(stored.conversation_id)}
        return self._stream(follower.outbox, dialect.encoder(offset), self._running.follow(follower), headers)

    def _stream(
        self, outbox: Outbox, encoder: Encoder, writer: asyncio.Task[None], headers: dict[str, str]
    ) -> EventStream:
        return EventStream(
            outbox,
            encoder,
            writer,
            headers=headers,
            heartbeat=self._settings.stream_heartbeat,
            padding=self._settings.stream_padding,
        )

    async def _refuse(self, error: ChatError, begun: Begun, clocks: Clocks, spent: list[Spent]) -> Response:
        """The answer to a turn whose model never began. The question stays, the answer is an `error`.

        That is saved before the client is told, so that it may try again at once, unless the database
        takes longer than the client was promised to wait."""
        settlement = Settlement.without_answer(begun, error, _rows(spent, clocks))
        saving = self._running.save(self._store.finish(settlement))
        patience = clocks.arrived_at + _PROMISED_SECONDS - asyncio.get_running_loop().time()
        await asyncio.wait({saving}, timeout=max(0.0, patience))
        error.headers.update(_headers(begun))
        response = http.error_response(error)
        response.background = BackgroundTask(asyncio.wait, {saving})
        return response

    async def _caller(self, request: Request) -> UUID:
        identity = await self._verifier.verify(request.headers.get("authorization"))
        logger.thread_safe_append_keys(user_id=str(identity.user_id))
        return identity.user_id

    def _models_for(self, ask: Ask) -> tuple[str, ...]:
        configured = (self._settings.model, *self._settings.fallback_models)
        if ask.model is None:
            return configured
        if ask.model not in configured:
            raise InvalidRequest(f"model must be one of {', '.join(configured)}", field="model")
        return (ask.model, *(name for name in configured if name != ask.model))

    def _prompt(self, ask: Ask, begun: Begun) -> ChatRequest:
        return ChatRequest(
            model="",
            messages=begun.history,
            system=self._system_prompt,
            max_tokens=_DEFAULT_MAX_TOKENS if ask.max_tokens is None else ask.max_tokens,
            temperature=_DEFAULT_TEMPERATURE if ask.temperature is None else ask.temperature,
        )

    def _clocks(self, scope: Scope) -> Clocks:
        now = asyncio.get_running_loop().time()
        context = scope.get("aws.context")
        return Clocks(
            arrived_at=now,
            first_token=self._settings.first_token_timeout,
            idle=self._settings.idle_timeout,
            deadline=now + context.get_remaining_time_in_millis() / 1000 if context else None,
        )


def _headers(begun: Begun) -> dict[str, str]:
    return {
        "X-Message-Id": str(begun.answer_id),
        "X-Conversation-Id": str(begun.conversation_id),
        **(rate_limits.headers("chat", begun.rate) if begun.rate else {}),
    }


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 ASCII characters", field="Idempotency-Key")
    return key


def _last_event_id(request: Request) -> int:
    last = request.headers.get("last-event-id") or "0"
    if not (last.isascii() and last.isdecimal() and len(last) <= 9):
        raise InvalidRequest("Last-Event-ID must be the id of an event of this answer", field="Last-Event-ID")
    return int(last)


def _rows(spent: list[Spent], clocks: Clocks) -> list[UsageRow]:
    duration = asyncio.get_running_loop().time() - clocks.arrived_at
    return [UsageRow.of(each.target, each.usage, status="error", duration=duration) for each in spent]


def _estimate(chat: ChatRequest) -> int:
    texts = (chat.system or "", *(message.content for message in chat.messages))
    return sum(costs.estimate_tokens(text) for text in texts)


def _coach() -> str:
    return (Path(__file__).parent / "system_prompt.md").read_text("utf-8").strip()
