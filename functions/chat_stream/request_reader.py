"""From a request to a question: who asks, under which key, which model, in which words."""

import asyncio
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4, uuid5

from starlette.requests import Request

from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.model_choice import ModelChoice
from functions.chat_stream.records import NewTurn, StartedTurn
from functions.chat_stream.request import TurnRequest, idempotency_key
from functions.chat_stream.turn import Clocks
from shared import addresses, costs, logs
from shared.asgi import Scope
from shared.auth import TokenVerifier
from shared.llm.wire_format import ChatRequest
from shared.settings import Settings

_DEFAULT_TEMPERATURE = 0.7
_DEFAULT_MAX_TOKENS = 4096
# Callers without a token are users too, each by their address, of which no more than this is kept.
_ADDRESSES = UUID("5f2d8c1e-6a0b-4c53-9b7e-2f8e3a4d1c60")


class RequestReader:
    def __init__(self, settings: Settings, verifier: TokenVerifier) -> None:
        self._settings = settings
        self._verifier = verifier
        self._system_prompt = settings.system_prompt or _coach()
        self.choice = ModelChoice(settings)

    async def caller(self, request: Request, *, stateless: bool = False) -> UUID:
        """Raises Unauthorized. A stateless route may be called without a token, where that is allowed."""
        authorization = request.headers.get("authorization")
        address = addresses.of(request.scope, self._settings.proxies)
        if authorization is None and stateless and self._settings.allow_anonymous and address:
            pseudonym = addresses.pseudonym(address, await self._settings.server_secret())
            user_id = uuid5(_ADDRESSES, pseudonym)
        else:
            user_id = (await self._verifier.verify(authorization)).user_id
        logs.mark_user(user_id)
        return user_id

    def question(
        self, request: Request, dialect: Dialect, ask: TurnRequest, *, body: bytes, user_id: UUID, model: str
    ) -> NewTurn:
        """A header's key covers the whole body. A format's own name for the turn covers the question:
        what else such a body carries, the client may say in other words when it tries again."""
        key, covered = idempotency_key(request), body
        if key is None and ask.idempotency_key is not None:
            key, covered = sha256(ask.idempotency_key.encode()).hexdigest(), ask.question.encode()
        system = self._system(ask)
        return NewTurn(
            user_id=user_id,
            answer_id=uuid4(),
            question=ask.question,
            idempotency_key=key,
            request_hash=sha256(dialect.route.encode() + b"\n" + covered).digest(),
            model=model,
            system_tokens=costs.estimate_tokens(system),
            prompt_tokens=costs.estimate_tokens(system, *(message.content for message in ask.messages)),
            max_tokens=ask.max_tokens or _DEFAULT_MAX_TOKENS,
            conversation=ask.conversation,
        )

    def chat(self, ask: TurnRequest, begun: StartedTurn) -> ChatRequest:
        # Without a history the turn is stateless, or could not be stored: then as much as one has.
        sent = ask.messages if ask.conversation is None else ask.messages[-self._settings.history_messages :]
        return ChatRequest(
            messages=begun.history or sent,
            system=self._system(ask) or None,
            max_tokens=ask.max_tokens or _DEFAULT_MAX_TOKENS,
            temperature=_DEFAULT_TEMPERATURE if ask.temperature is None else ask.temperature,
        )

    def _system(self, ask: TurnRequest) -> str:
        return self._system_prompt if ask.system is None else ask.system


def clocks(settings: Settings, scope: Scope) -> Clocks:
    now = asyncio.get_running_loop().time()
    context = scope.get("aws.context")
    return Clocks(
        arrived_at=now,
        first_token=settings.first_token_timeout,
        idle=settings.idle_timeout,
        deadline=now + context.get_remaining_time_in_millis() / 1000 if context else None,
    )


def _coach() -> str:
    return (Path(__file__).parent / "system_prompt.md").read_text("utf-8").strip()
