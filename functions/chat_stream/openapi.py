"""What this function's routes are, in the words of `shared/openapi.py`."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from functions.chat_stream import openapi_types as types
from functions.chat_stream.dialects import chat, chat_stream, content, openai_chat, stream, stream_chat, ui
from functions.chat_stream.dialects.base import Dialect
from shared.errors import (
    BudgetExceeded,
    Conflict,
    IdempotencyMismatch,
    NotFound,
    RateLimited,
    UpstreamError,
)
from shared.openapi import Body, Error, Events, Operation, Parameter, Reply

_RATE = ("RateLimit", "RateLimit-Policy")
_QUESTION: Mapping[str, Any] = {"role": "user", "content": "How do I sleep better?"}

_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    type=Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")],
    description="The client's name for this turn. The same request under it again gets the same answer, from"
    " its beginning, whether it is finished or not; another request gets a 422.",
)
_LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    place="header",
    type=Annotated[str, Meta(pattern="^[0-9]{1,9}$")],
    description="The `id` of the last event that was received. What follows it is sent.",
)


def _turn(
    dialect: Dialect,
    name: str,
    summary: str,
    *,
    body: type,
    example: Mapping[str, Any],
    events: Events,
    whole: type | None = None,
    stored: bool = True,
    error_type: Any = Error,
) -> Operation:
    reply = Reply(
        description="The whole answer, for `stream: false`.",
        types=(whole,),
        headers=("X-Message-Id",),
        maybe_headers=events.maybe_headers,
    )
    return Operation(
        name=name,
        method="post",
        path=dialect.route,
        tag="Chat",
        summary=summary,
        access="either" if dialect.stateless else "user",
        parameters=(_IDEMPOTENCY_KEY,),
        body=Body(type=body, max_bytes=dialect.max_body_bytes, example=example),
        replies={200: (events, reply) if whole else (events,)},
        errors=(
            IdempotencyMismatch,
            RateLimited,
            BudgetExceeded,
            UpstreamError,
            *((NotFound, Conflict) if stored else ()),
        ),
        error_type=error_type,
    )


def _events(of: Any, description: str, **more: Any) -> Events:
    """As the dialect's own words have it."""
    return Events(
        description=f"{description}\n\n{inspect.cleandoc(of.__doc__)}",
        headers=("X-Message-Id", "Cache-Control"),
        maybe_headers=("X-Conversation-Id", *_RATE),
        **more,
    )


_NATIVE_EVENTS = _events(chat_stream, "The answer as it is written.", types=types.NATIVE, ids=True)
_UI_EVENTS = _events(ui, "The answer as it is written.", types=types.UI, last_words="[DONE]")

OPERATIONS = (
    _turn(
        chat_stream.ChatStream(),
        "chatStream",
        "Ask, in a stored conversation",
        body=chat_stream.Body,
        example={"message": "How do I sleep better?"},
        events=_NATIVE_EVENTS,
    ),
    Operation(
        name="resumeMessage",
        method="get",
        path="/api/chat/messages/{id}/stream",
        tag="Chat",
        summary="Go on reading an answer, whether it is finished or not",
        parameters=(_LAST_EVENT_ID,),
        replies={200: (_NATIVE_EVENTS,)},
    ),
    _turn(
        stream_chat.StreamChat(),
        "streamChat",
        "Ask, with the conversation in the request and nothing stored",
        body=stream_chat.Body,
        example={"messages": [_QUESTION]},
        events=_events(content, "The answer as it is written.", types=types.CONTENT, last_words="[DONE]"),
        stored=False,
    ),
    _turn(
        chat.Chat(),
        "chat",
        "Ask, with the conversation in the request, stored or not",
        body=chat.Body,
        example={"messages": [_QUESTION]},
        events=_events(content, "The answer as it is written.", types=types.CONTENT, last_words="[DONE]"),
        whole=types.WholeContent,
    ),
    _turn(
        stream.Stream(),
        "stream",
        "Ask, and be answered with named events",
        body=stream.Body,
        example={"messages": [_QUESTION], "model": "openai/gpt-6.1-terra"},
        events=_events(
            stream,
            "The answer as it is written.",
            types=types.NAMED,
            names=("message-start", "message-chunk", "message-complete", "error"),
        ),
    ),
    _turn(
        openai_chat.OpenAIChat(),
        "createChatCompletion",
        "Ask as OpenAI's clients do",
        body=openai_chat.Body,
        example={"messages": [_QUESTION], "model": "openai/gpt-6.1-terra"},
        events=_events(openai_chat, "For `stream: true`.", types=types.OPENAI, last_words="[DONE]"),
        whole=types.ChatCompletion,
        stored=False,
        error_type=types.OpenAIError,
    ),
    Operation(
        name="listModels",
        method="get",
        path="/v1/models",
        tag="Chat",
        summary="The models that may be asked for",
        access="either",
        replies={200: (Reply(description="Their names.", types=(types.ModelList,)),)},
        error_type=types.OpenAIError,
    ),
    _turn(
        ui.UIChat(),
        "uiChat",
        "Ask as `useChat` of the AI SDK does",
        body=ui.Body,
        example={
            "id": "chat-1",
            "messages": [{"role": "user", "parts": [{"type": "text", "text": "How do I sleep better?"}]}],
        },
        events=_UI_EVENTS,
    ),
    Operation(
        name="resumeUIChat",
        method="get",
        path="/api/ui/chat/{id}/stream",
        tag="Chat",
        summary="The running answer of a `useChat` conversation, from its beginning",
        id_type=Annotated[str, Meta(min_length=1)],
        replies={
            200: (_UI_EVENTS,),
            204: (Reply(description="No answer is being written.", media_type=None),),
        },
    ),
    Operation(
        name="getHealth",
        method="get",
        path="/health",
        tag="Service",
        summary="Whether this process serves",
        access="anybody",
        replies={200: (Reply(description="It does.", types=(types.Health,)),)},
    ),
)
