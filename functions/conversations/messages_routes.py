"""The endpoints of messages, and the endpoints that stop a running answer."""

from typing import Literal
from uuid import UUID

from starlette.responses import Response

from functions.conversations.messages_store import ORDERS, MessageStore, Order
from functions.conversations.parameters import (
    CONVERSATION_ID,
    CURSOR,
    MESSAGE_ID,
    OFFSET,
    page_limit,
    page_request,
)
from functions.conversations.routing import Call, check_user_id, endpoint
from functions.conversations.schemas import (
    Cancellation,
    Ending,
    Message,
    MessagePage,
    NewMessage,
    check_metadata,
)
from shared import rate_limits, web
from shared.endpoints import RATE_LIMIT_HEADERS, Body, Reply
from shared.errors import RateLimited
from shared.parameters import Choice, Text

_TAG = "Messages"
_PATH = "/api/chat/conversations/{id}/messages"
_LIMIT = page_limit(100)
_ORDER = Choice[Order](
    name="order",
    choices=ORDERS,
    description="`asc` returns the oldest message first, `desc` the newest.",
)
_NEW_MESSAGE = Body(
    type=NewMessage,
    # 32,000 characters of four bytes, metadata, and some room for JSON escapes.
    max_bytes=262_144,
    example={"role": "user", "content": "How do I sleep better?"},
)

# An external id is any text, so the id is not checked here.
_CONVERSATION = Text(
    name="id",
    place="path",
    required=True,
    constraints={"minLength": 1},
    description="The id of the conversation, or the client's own id for it.",
)
_CANCELLATIONS = (
    Reply(description="The answer had already ended. Its status.", types=(Cancellation,)),
    Reply(status=202, description="The answer is being stopped.", types=(Cancellation,)),
)


class MessageRoutes:
    def __init__(self, store: MessageStore) -> None:
        self._store = store

    @endpoint(
        "GET",
        _PATH,
        operation_id="listMessages",
        tag=_TAG,
        parameters=(CONVERSATION_ID, _LIMIT, OFFSET, CURSOR, _ORDER),
        replies=[Reply(description="One page of the messages.", types=(MessagePage,))],
    )
    async def list_(self, call: Call) -> Response:
        """List the messages of a conversation.

        A page of long messages ends early, at 4 MB; `next_cursor` continues the list. Use
        `order=desc` to read from the newest message backwards.
        """
        page = await self._store.page(
            call.identity.user_id, call[CONVERSATION_ID], page_request(call, _LIMIT), call[_ORDER]
        )
        return web.json_response(page)

    @endpoint(
        "POST",
        _PATH,
        operation_id="addMessage",
        tag=_TAG,
        parameters=[CONVERSATION_ID],
        body=_NEW_MESSAGE,
        replies=[
            Reply(
                status=201,
                description="The message, as it is stored.",
                types=(Message,),
                headers=RATE_LIMIT_HEADERS,
            )
        ],
        errors=[RateLimited],
    )
    async def add(self, call: Call) -> Response:
        """Add a message without asking a model."""
        body = call[_NEW_MESSAGE]
        check_user_id(body.user_id, call.identity)
        check_metadata(body.metadata, "metadata")
        added, rate = await self._store.add(call.identity.user_id, call[CONVERSATION_ID], body)
        return web.json_response(added, status=201, headers=rate_limits.headers("write", rate))

    @endpoint(
        "POST",
        "/api/chat/messages/{id}/cancel",
        operation_id="cancelMessage",
        tag=_TAG,
        parameters=[MESSAGE_ID],
        replies=_CANCELLATIONS,
    )
    async def cancel(self, call: Call) -> Response:
        """Stop an answer that is being written.

        The request can be repeated. It returns 202 until the answer has stopped, then 200.
        """
        message_id = call[MESSAGE_ID]
        return _cancellation(message_id, await self._store.cancel(call.identity.user_id, message_id))

    @endpoint(
        "POST",
        "/api/chat/conversations/{id}/cancel",
        operation_id="cancelConversation",
        tag=_TAG,
        parameters=[_CONVERSATION],
        replies=_CANCELLATIONS,
    )
    async def cancel_conversation(self, call: Call) -> Response:
        """Stop the answer that is being written in a conversation.

        For a client that does not know the id of the answer yet. The request can be repeated. It returns 202
        until the answer has stopped, then 200 with the newest answer.
        """
        conversation = call[_CONVERSATION]
        return _cancellation(
            *await self._store.cancel_conversation(call.identity.user_id, conversation or "")
        )


def _cancellation(message_id: UUID, status: Literal["running"] | Ending) -> Response:
    if status == "running":
        return web.json_response(Cancellation(message_id, "cancelling"), status=202)
    return web.json_response(Cancellation(message_id, status))
