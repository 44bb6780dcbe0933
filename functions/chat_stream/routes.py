"""The endpoints of the chat function: they read the request, and leave the work to others."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.chat_stream.answer_response import RESUME_REQUEST, ChatResponse, replay_response
from functions.chat_stream.dialects import DIALECTS, NATIVE, OPENAI, UI, openai_chat
from functions.chat_stream.json_response import refusal
from functions.chat_stream.request import last_event_id
from functions.chat_stream.services import ChatServices
from functions.chat_stream.start_turn import start_turn
from functions.chat_stream.store import parse_uuid
from functions.chat_stream.timeouts import Timeouts
from shared import web
from shared.errors import ChatError, InvalidRequest, NotFound


class ChatRoutes:
    def __init__(self, services: ChatServices) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        return [
            *(
                Route(dialect.route, partial(start_turn, self._services, dialect), methods=["POST"])
                for dialect in DIALECTS
            ),
            Route("/api/chat/messages/{id}/stream", self.resume, methods=["GET"]),
            Route("/api/ui/chat/{id}/stream", self.resume_ui, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def resume(self, request: Request) -> ChatResponse:
        """The rest of an answer after `Last-Event-ID`, until it ends; all of it without that header."""
        services = self._services
        user_id = await services.authentication.user_id(request)
        answer_id = parse_uuid(request.path_params["id"])
        if answer_id is None:
            raise NotFound("no such message")
        offset = last_event_id(request)
        stored = await services.store.read(user_id, answer_id, offset)
        if offset > stored.length and stored.status == "complete":
            raise InvalidRequest("Last-Event-ID is beyond the end of this answer", field="Last-Event-ID")
        return await replay_response(
            services,
            NATIVE,
            RESUME_REQUEST,
            user_id=user_id,
            answer_id=answer_id,
            timeouts=Timeouts.of(services.settings, request.scope),
            offset=offset,
            first=stored,
        )

    async def resume_ui(self, request: Request) -> ChatResponse:
        """The running answer of a conversation from its beginning; 204 when no answer is running."""
        services = self._services
        user_id = await services.authentication.user_id(request)
        answer_id = await services.store.running_answer(user_id, request.path_params["id"])
        if answer_id is None:
            return Response(status_code=204)
        return await replay_response(
            services,
            UI,
            RESUME_REQUEST,
            user_id=user_id,
            answer_id=answer_id,
            timeouts=Timeouts.of(services.settings, request.scope),
        )

    async def models(self, request: Request) -> Response:
        """The names of the models that a client may ask for, in OpenAI's format."""
        try:
            await self._services.authentication.user_id(request, token_optional=True)
        except ChatError as error:
            web.log_refusal(error)
            return refusal(OPENAI, error)
        return web.json_response(openai_chat.model_list(self._services.model_choice.names, created=0))

    async def health(self, _: Request) -> Response:
        """Whether this process serves requests."""
        return web.json_response({"status": "ok"})
