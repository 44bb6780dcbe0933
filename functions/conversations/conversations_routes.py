"""The endpoints of conversations."""

from typing import Any

from msgspec import UNSET, structs
from starlette.responses import Response

from functions.conversations.conversations_store import ConversationStore
from functions.conversations.parameters import CONVERSATION_ID, CURSOR, OFFSET, page_limit, page_request
from functions.conversations.routing import Call, check_user_id, endpoint
from functions.conversations.schemas import Conversation, ConversationPage, ConversationPatch, NewConversation
from shared import rate_limits, web
from shared.endpoints import RATE_LIMIT_HEADERS, Body, Reply
from shared.errors import InvalidRequest, NotFound, RateLimited
from shared.parameters import ResourceId

_TAG = "Conversations"
_PATH = "/api/chat/conversations"
_LIMIT = page_limit(50)
_ID_IN_QUERY = ResourceId(
    name="id", required=True, resource="conversation", description="The id of the conversation."
)
_NEW_CONVERSATION = Body(
    type=NewConversation, max_bytes=web.MAX_BODY_BYTES, example={"title": "Better sleep"}
)
_PATCH = Body(
    type=ConversationPatch,
    max_bytes=web.MAX_BODY_BYTES,
    example={"title": "Better sleep", "tags": ["night"]},
    constraints={"anyOf": [{"required": [name]} for name in ConversationPatch.__struct_fields__]},
)


class ConversationRoutes:
    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    @endpoint(
        "GET",
        _PATH,
        operation_id="listConversations",
        tag=_TAG,
        parameters=(_LIMIT, OFFSET, CURSOR),
        replies=[Reply(description="One page of the conversations.", types=(ConversationPage,))],
    )
    async def list_(self, call: Call) -> Response:
        """List the caller's conversations, the most recently active first."""
        page = await self._store.page(call.identity.user_id, page_request(call, _LIMIT))
        return web.json_response(page)

    @endpoint(
        "POST",
        _PATH,
        operation_id="createConversation",
        tag=_TAG,
        body=_NEW_CONVERSATION,
        replies=[
            Reply(
                status=201,
                description="The created conversation.",
                types=(Conversation,),
                headers=RATE_LIMIT_HEADERS,
            )
        ],
        errors=[RateLimited],
    )
    async def create(self, call: Call) -> Response:
        """Create a new conversation.

        Without a title, the conversation gets one from the first message of its user.
        """
        body = call[_NEW_CONVERSATION]
        check_user_id(body.user_id, call.identity)
        created, rate = await self._store.create(call.identity.user_id, body)
        return web.json_response(created, status=201, headers=rate_limits.headers("write", rate))

    @endpoint(
        "DELETE",
        _PATH,
        operation_id="deleteConversationByQuery",
        tag=_TAG,
        parameters=[_ID_IN_QUERY],
        replies=[Reply(status=204, description="The conversation is deleted.", media_type=None)],
        errors=[NotFound],
    )
    async def delete_by_query(self, call: Call) -> Response:
        """Delete the conversation whose id is in the query string."""
        await self._store.delete(call.identity.user_id, call[_ID_IN_QUERY])
        return Response(status_code=204)

    @endpoint(
        "GET",
        f"{_PATH}/{{id}}",
        operation_id="getConversation",
        tag=_TAG,
        parameters=[CONVERSATION_ID],
        replies=[Reply(description="The requested conversation.", types=(Conversation,))],
    )
    async def get(self, call: Call) -> Response:
        """Return one conversation."""
        return web.json_response(await self._store.get(call.identity.user_id, call[CONVERSATION_ID]))

    @endpoint(
        "PATCH",
        f"{_PATH}/{{id}}",
        operation_id="changeConversation",
        tag=_TAG,
        parameters=[CONVERSATION_ID],
        body=_PATCH,
        replies=[Reply(description="The changed conversation.", types=(Conversation,))],
    )
    async def change(self, call: Call) -> Response:
        """Change the title, the model or the tags of a conversation."""
        changes = _changes(call[_PATCH])
        changed = await self._store.change(call.identity.user_id, call[CONVERSATION_ID], changes)
        return web.json_response(changed)

    @endpoint(
        "DELETE",
        f"{_PATH}/{{id}}",
        operation_id="deleteConversation",
        tag=_TAG,
        parameters=[CONVERSATION_ID],
        replies=[Reply(status=204, description="The conversation is deleted.", media_type=None)],
    )
    async def delete(self, call: Call) -> Response:
        """Delete a conversation with its messages.

        A running answer is asked to stop. The cost of the answers stays in the usage report.
        """
        await self._store.delete(call.identity.user_id, call[CONVERSATION_ID])
        return Response(status_code=204)


def _changes(patch: ConversationPatch) -> dict[str, Any]:
    """Returns the columns to change. Raises InvalidRequest if the patch changes none."""
    changes = {name: value for name, value in structs.asdict(patch).items() if value is not UNSET}
    if not changes:
        raise InvalidRequest("the body must have title, model or tags")
    if "tags" in changes:
        changes["tags"] = list(dict.fromkeys(changes["tags"] or ()))
    return changes
