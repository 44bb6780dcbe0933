"""Makes the response for an answer: one that this process reads from a model, or a stored one."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote
from uuid import UUID

from starlette.responses import Response

from functions.chat_stream.answer_replay import AnswerReplay
from functions.chat_stream.dialects.base import AnswerMeta, Dialect
from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.json_response import JSONAnswerResponse
from functions.chat_stream.request import EventId, TurnRequest
from functions.chat_stream.services import ChatServices
from functions.chat_stream.sse_response import SSEResponse
from functions.chat_stream.timeouts import Timeouts
from shared.errors import InvalidRequest

ChatResponse: TypeAlias = Response | SSEResponse | JSONAnswerResponse

# Clients choose names of models where LLM_ALLOWED_MODELS has a pattern. Other characters are encoded.
_HEADER_CHARACTERS = "!#$&'()*+,/:;=?@[]^{|}"

# A resumed stream has no request body; encoders still need a request object.
RESUME_REQUEST = TurnRequest(messages=())


def answer_response(
    services: ChatServices,
    dialect: Dialect,
    request: TurnRequest,
    events: EventQueue,
    producer: asyncio.Task[None],
    *,
    answer_id: UUID,
    model: str | None,
    headers: dict[str, str],
    offset: int = 0,
    on_disconnect: Callable[[], None] | None = None,
) -> ChatResponse:
    """Returns a stream, or one JSON body if the client asked for `"stream": false`.

    `producer` is the task that fills `events`. `model` is the `provider/model` that answers; None if it is
    not known yet. The client already has the first `offset` characters. `on_disconnect` is called if the
    client disconnects before the response is complete.
    """
    meta = AnswerMeta(
        message_id=str(answer_id),
        model=model or services.model_choice.listed_models[0],
        created=int(time.time()),
    )
    headers = {**dialect.headers, "X-Message-Id": meta.message_id, **headers}
    if model is not None:
        headers["X-Model"] = quote(model, safe=_HEADER_CHARACTERS)
    if not request.stream:
        return JSONAnswerResponse(
            events, dialect, producer, meta=meta, headers=headers, on_disconnect=on_disconnect
        )
    return SSEResponse(
        events,
        dialect.encoder(request, meta, offset),
        producer,
        headers=headers,
        heartbeat=services.settings.stream_heartbeat,
        padding=services.settings.stream_padding,
        on_disconnect=on_disconnect,
    )


def end_response() -> Response:
    """The response for a client that has the whole answer. `EventSource` does not connect again after a
    204."""
    return Response(status_code=204)


async def replay_response(
    services: ChatServices,
    dialect: Dialect,
    request: TurnRequest,
    *,
    user_id: UUID,
    answer_id: UUID,
    timeouts: Timeouts,
    last_event: EventId | None = None,
) -> ChatResponse:
    """Returns a response with the stored answer after the client's last event, and with the text that is
    added until the answer ends. Returns 204 if the client has the last event of the answer.

    Raises NotFound, Unavailable, and InvalidRequest if the answer is complete and shorter than the client's
    text.
    """
    last_event = last_event or EventId()
    offset = last_event.characters
    stored_answer = await services.store.read(user_id, answer_id, offset)
    if offset > stored_answer.length and stored_answer.status == "complete":
        raise InvalidRequest("Last-Event-ID is beyond the end of this answer", field="Last-Event-ID")
    if last_event.is_end:
        return end_response()
    replay = AnswerReplay(services.store, user_id, answer_id, stored_answer, offset=offset, timeouts=timeouts)
    return answer_response(
        services,
        dialect,
        request,
        replay.events,
        services.background.run_replay(replay),
        answer_id=answer_id,
        # Another process may be writing the answer. Its first checkpoint says which model answers.
        model=stored_answer.metadata.get("model"),
        headers={"X-Conversation-Id": str(stored_answer.conversation_id)},
        offset=offset,
    )
