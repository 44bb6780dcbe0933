"""The endpoints of the chat function. A handler reads its request and calls the module that does the work."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.chat_stream.answer_response import RESUME_REQUEST, ChatResponse, replay_response
from functions.chat_stream.dialects import AI_SDK, DIALECTS, NATIVE, OPENAI, openai_chat
from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.json_response import dialect_error_response
from functions.chat_stream.request import IDEMPOTENCY_KEY, LAST_EVENT_ID, last_event_id
from functions.chat_stream.services import ChatServices
from functions.chat_stream.start_turn import start_turn
from functions.chat_stream.timeouts import Timeouts
from shared import web
from shared.endpoint_route import EndpointRoute, RequestHandler
from shared.endpoints import Body, Endpoint, LazyTypes, Reply
from shared.errors import (
    BudgetExceeded,
    ChatError,
    Conflict,
    ContentFiltered,
    ContextLengthExceeded,
    IdempotencyMismatch,
    ModelNotFound,
    NotFound,
    RateLimited,
    UpstreamError,
)
from shared.parameters import ResourceId, Text

_TAG = "Chat"
_MESSAGE_ID = ResourceId(
    name="id", place="path", required=True, resource="message", description="The id of the answer's message."
)
_NOTHING_LEFT = Reply(status=204, description="The client has the last event of the answer.", media_type=None)


def turn_endpoint(dialect: Dialect) -> Endpoint:
    """The endpoint that starts a turn in a dialect."""
    description = dialect.description
    replies: tuple[Reply, ...] = (description.events,)
    if description.complete_type is not None:
        complete = Reply(
            description="The complete answer, for `stream: false`.",
            types=_as_tuple(description.complete_type),
            headers=("X-Message-Id",),
            optional_headers=description.events.optional_headers,
        )
        replies = (description.events, complete)
    if description.events.has_ids:
        replies = (*replies, _NOTHING_LEFT)
    return Endpoint(
        method="POST",
        path=dialect.route,
        operation_id=description.operation_id,
        tag=_TAG,
        summary=description.summary,
        access="optional" if dialect.allows_anonymous else "user",
        parameters=(IDEMPOTENCY_KEY, *((LAST_EVENT_ID,) if description.events.has_ids else ())),
        body=Body(type=description.body, max_bytes=dialect.max_body_bytes, example=description.example),
        replies=replies,
        errors=(
            IdempotencyMismatch,
            RateLimited,
            BudgetExceeded,
            ContextLengthExceeded,
            ContentFiltered,
            ModelNotFound,
            UpstreamError,
            *((NotFound, Conflict) if description.can_store else ()),
        ),
        error_type=description.error_type,
        statuses=dialect.statuses,
    )


def _as_tuple(lazy_type: Callable[[], Any]) -> LazyTypes:
    return lambda: (lazy_type(),)


def _model_list_types() -> tuple[Any, ...]:
    from functions.chat_stream.openapi_types import ModelList  # noqa: PLC0415 (only OpenAPI needs it)

    return (ModelList,)


def _health_types() -> tuple[Any, ...]:
    from functions.chat_stream.openapi_types import Health  # noqa: PLC0415 (only OpenAPI needs it)

    return (Health,)


RESUME = Endpoint(
    method="GET",
    path="/api/chat/messages/{id}/stream",
    operation_id="resumeMessage",
    tag=_TAG,
    summary="Resume the stream of an answer",
    parameters=(
        _MESSAGE_ID,
        LAST_EVENT_ID,
    ),
    replies=(NATIVE.description.events, _NOTHING_LEFT),
)
RESUME_UI = Endpoint(
    method="GET",
    path="/api/ui/chat/{id}/stream",
    operation_id="resumeUIChat",
    tag=_TAG,
    summary="Read the running answer of a `useChat` conversation from its beginning",
    parameters=(
        Text(
            name="id",
            place="path",
            required=True,
            constraints={"minLength": 1},
            description="The id of the conversation, or the client's own id for it.",
        ),
    ),
    replies=(
        AI_SDK.description.events,
        Reply(status=204, description="The conversation has no running answer.", media_type=None),
    ),
)
MODELS = Endpoint(
    method="GET",
    path="/v1/models",
    operation_id="listModels",
    tag=_TAG,
    summary="List the models that clients can name",
    access="optional",
    replies=(Reply(description="The models that clients can name.", types=_model_list_types),),
    error_type=openai_chat.error_type,
)
HEALTH = Endpoint(
    method="GET",
    path="/health",
    operation_id="getHealth",
    tag="Service",
    summary="Check whether the service is running",
    access="public",
    replies=(Reply(description="The service is running.", types=_health_types),),
)


class ChatRoutes:
    def __init__(self, services: ChatServices) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        return [
            *(
                _route(turn_endpoint(dialect), partial(start_turn, self._services, dialect))
                for dialect in DIALECTS
            ),
            _route(RESUME, self.resume),
            _route(RESUME_UI, self.resume_ui),
            _route(MODELS, self.models),
            _route(HEALTH, self.health),
        ]

    async def resume(self, request: Request) -> ChatResponse:
        """Streams an answer from `Last-Event-ID` on, or from its beginning without that header, until the
        answer ends. Returns 204 after the last event."""
        services = self._services
        user_id = await services.authentication.user_id(request)
        answer_id = _MESSAGE_ID.parse(request.path_params["id"])
        return await replay_response(
            services,
            NATIVE,
            RESUME_REQUEST,
            user_id=user_id,
            answer_id=answer_id,
            timeouts=Timeouts.from_scope(services.settings, request.scope),
            last_event=last_event_id(request),
        )

    async def resume_ui(self, request: Request) -> ChatResponse:
        """Streams the running answer of a conversation from its beginning. Returns 204 if no answer is
        running."""
        services = self._services
        user_id = await services.authentication.user_id(request)
        answer_id = await services.store.running_answer(user_id, request.path_params["id"])
        if answer_id is None:
            return Response(status_code=204)
        return await replay_response(
            services,
            AI_SDK,
            RESUME_REQUEST,
            user_id=user_id,
            answer_id=answer_id,
            timeouts=Timeouts.from_scope(services.settings, request.scope),
        )

    async def models(self, request: Request) -> Response:
        """The models that clients can choose, in OpenAI's format."""
        try:
            await self._services.authentication.user_id(request, token_optional=True)
        except ChatError as error:
            web.log_error(error)
            return dialect_error_response(OPENAI, error)
        return web.json_response(openai_chat.model_list(self._services.model_choice.listed_models, created=0))

    async def health(self, _: Request) -> Response:
        """Returns 200 while this process serves requests."""
        return web.json_response({"status": "ok"})


def _route(endpoint: Endpoint, handler: RequestHandler) -> Route:
    return EndpointRoute(endpoint.path, [(endpoint, handler)])
