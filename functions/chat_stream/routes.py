"""The routes of the chat function: what happens between a request and the first byte of its answer.

All that can be refused with a status is refused here, before the model is asked or, where the model
refuses, before the client's stream begins.
"""

import asyncio
from functools import partial
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.chat_stream.dialects import DIALECTS
from functions.chat_stream.dialects.base import Ask, Dialect
from functions.chat_stream.response import EventStream
from functions.chat_stream.running import RunningTurns
from functions.chat_stream.store import Begun, Settlement, TurnStore
from functions.chat_stream.turn import Clocks, Turn
from shared import costs, http
from shared.asgi import Scope
from shared.auth import TokenVerifier
from shared.config import Settings
from shared.errors import ChatError, InvalidRequest
from shared.llm.base import ChatRequest
from shared.llm.client import ModelClient
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
        running: RunningTurns,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._store = store
        self._models = models
        self._running = running
        self._system_prompt = settings.system_prompt or _coach()

    def routes(self) -> list[Route]:
        turns = [Route(d.route, partial(self.chat, d), methods=["POST"]) for d in DIALECTS]
        return [*turns, Route("/health", self.health, methods=["GET"])]

    async def health(self, _: Request) -> Response:
        return http.json_response({"status": "ok"})

    async def chat(self, dialect: Dialect, request: Request) -> Response | EventStream:
        arrived_at = asyncio.get_running_loop().time()
        identity = await self._verifier.verify(request.headers.get("authorization"))
        logger.thread_safe_append_keys(user_id=str(identity.user_id))
        ask = dialect.parse(await http.read_body(request))
        models = self._models_for(ask)
        begun = await self._store.begin(identity.user_id, ask.conversation_id, ask.question, models[0])
        headers = {"X-Message-Id": str(begun.answer_id), "X-Conversation-Id": str(begun.conversation_id)}
        chat = self._prompt(ask, begun)
        try:
            answer = await self._models.start(chat, models, arrived_at + self._settings.start_timeout)
        except ChatError as error:
            return await self._refuse(error, begun, headers, arrived_at)
        turn = Turn(
            answer,
            begun=begun,
            prompt_tokens=_estimate(chat),
            arrived_at=arrived_at,
            clocks=self._clocks(request.scope),
            store=self._store,
        )
        return EventStream(
            turn.outbox,
            dialect.encoder(),
            self._running.start(turn),
            headers=headers,
            heartbeat=self._settings.stream_heartbeat,
            padding=self._settings.stream_padding,
        )

    async def _refuse(
        self, error: ChatError, begun: Begun, headers: dict[str, str], arrived_at: float
    ) -> Response:
        """The answer to a turn whose model never began. The question stays, the answer is an `error`.

        That is saved before the client is told, so that it may try again at once, unless the database
        takes longer than the client was promised to wait."""
        saving = self._running.save(self._store.finish(Settlement.without_answer(begun, error)))
        patience = arrived_at + _PROMISED_SECONDS - asyncio.get_running_loop().time()
        await asyncio.wait({saving}, timeout=max(0.0, patience))
        error.headers.update(headers)
        response = http.error_response(error)
        response.background = BackgroundTask(asyncio.wait, {saving})
        return response

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
        context = scope.get("aws.context")
        remaining = context.get_remaining_time_in_millis() / 1000 if context else None
        return Clocks(
            first_token=self._settings.first_token_timeout,
            idle=self._settings.idle_timeout,
            deadline=None if remaining is None else asyncio.get_running_loop().time() + remaining,
        )


def _estimate(chat: ChatRequest) -> int:
    texts = (chat.system or "", *(message.content for message in chat.messages))
    return sum(costs.estimate_tokens(text) for text in texts)


def _coach() -> str:
    return (Path(__file__).parent / "system_prompt.md").read_text("utf-8").strip()
