"""What this function's routes are, in the words of `shared/openapi.py`."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from functions.conversations import archive, conversations_routes, messages_routes, schemas, search_routes
from functions.conversations.messages_store import Order
from functions.conversations.openapi_types import (
    USER_ID,
    DayOrMoment,
    Export,
    SomePatch,
    UsageByConversation,
    UsageByDay,
    UsageByModel,
    number,
    window,
)
from shared import web
from shared.errors import Conflict, Forbidden, NotFound, RateLimited
from shared.openapi import Body, NotBlank, Operation, Parameter, Reply

_RATE = ("RateLimit", "RateLimit-Policy")

OPERATIONS = (
    Operation(
        name="listConversations",
        method="get",
        path="/api/chat/conversations",
        tag="Conversations",
        summary="The caller's conversations, the newest activity first",
        parameters=window(conversations_routes.LIMIT),
        replies={200: (Reply(description="A page.", types=(schemas.ConversationPage,)),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="createConversation",
        method="post",
        path="/api/chat/conversations",
        tag="Conversations",
        summary="Begin a conversation",
        description="It takes its title from the first message of its user, unless one is given.",
        parameters=(USER_ID,),
        body=Body(
            type=schemas.NewConversation, max_bytes=web.MAX_BODY_BYTES, example={"title": "Better sleep"}
        ),
        replies={201: (Reply(description="It is made.", types=(schemas.Conversation,), headers=_RATE),)},
        errors=(Forbidden, RateLimited),
    ),
    Operation(
        name="deleteConversationByQuery",
        method="delete",
        path="/api/chat/conversations",
        tag="Conversations",
        summary="Delete a conversation, named in the query string",
        parameters=(
            Parameter(name="id", type=UUID, required=True, description="Which one."),
            USER_ID,
        ),
        replies={204: (Reply(description="It is gone.", media_type=None),)},
        errors=(Forbidden, NotFound),
    ),
    Operation(
        name="getConversation",
        method="get",
        path="/api/chat/conversations/{id}",
        tag="Conversations",
        summary="One conversation",
        parameters=(USER_ID,),
        replies={200: (Reply(description="It.", types=(schemas.Conversation,)),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="changeConversation",
        method="patch",
        path="/api/chat/conversations/{id}",
        tag="Conversations",
        summary="Change title, model or tags",
        parameters=(USER_ID,),
        body=Body(
            type=SomePatch,
            max_bytes=web.MAX_BODY_BYTES,
            example={"title": "Better sleep", "tags": ["night"]},
        ),
        replies={200: (Reply(description="As it is now.", types=(schemas.Conversation,)),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="deleteConversation",
        method="delete",
        path="/api/chat/conversations/{id}",
        tag="Conversations",
        summary="Delete a conversation with its messages",
        description="A running answer is asked to stop. What it cost stays in the usage.",
        parameters=(USER_ID,),
        replies={204: (Reply(description="It is gone.", media_type=None),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="listMessages",
        method="get",
        path="/api/chat/conversations/{id}/messages",
        tag="Messages",
        summary="A conversation's messages",
        description="A page of long messages may end before `limit`; `next_cursor` goes on.",
        parameters=(
            *window(messages_routes.LIMIT),
            Parameter(
                name="order",
                type=Order,
                default="asc",
                description="`asc`: the oldest first. `desc`: the newest first.",
            ),
        ),
        replies={200: (Reply(description="A page.", types=(schemas.MessagePage,)),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="addMessage",
        method="post",
        path="/api/chat/conversations/{id}/messages",
        tag="Messages",
        summary="Add a message, without asking a model",
        parameters=(USER_ID,),
        body=Body(
            type=schemas.NewMessage,
            max_bytes=messages_routes.MAX_BODY_BYTES,
            example={"role": "user", "content": "How do I sleep better?"},
        ),
        replies={201: (Reply(description="It is there.", types=(schemas.Message,), headers=_RATE),)},
        errors=(Forbidden, RateLimited),
    ),
    Operation(
        name="cancelMessage",
        method="post",
        path="/api/chat/messages/{id}/cancel",
        tag="Messages",
        summary="Stop the turn that writes this answer, wherever it runs",
        parameters=(USER_ID,),
        replies={
            200: (Reply(description="It has ended, and so.", types=(schemas.Cancellation,)),),
            202: (Reply(description="It is being stopped.", types=(schemas.Cancellation,)),),
        },
        errors=(Forbidden,),
    ),
    Operation(
        name="searchMessages",
        method="get",
        path="/api/chat/search",
        tag="Messages",
        summary="Search the caller's messages",
        description=(
            "All words are wanted, the last of them may go on; quotes hold words together, `-` excludes,"
            " `or` is either. Any text is a query. The best of the newest 500 messages with these words"
            " come first."
        ),
        parameters=(
            Parameter(
                name="q",
                type=Annotated[NotBlank, Meta(max_length=search_routes.MAX_QUERY)],
                required=True,
                description="What to look for.",
            ),
            number("limit", search_routes.LIMIT, "How many at most."),
            USER_ID,
        ),
        replies={200: (Reply(description="What was found.", types=(schemas.SearchResults,)),)},
        errors=(Forbidden,),
    ),
    Operation(
        name="exportConversation",
        method="get",
        path="/api/chat/conversations/{id}/export",
        tag="Export and import",
        summary="A conversation as a file",
        description="It is read while it is sent. What is no whole file has broken off.",
        parameters=(
            Parameter(
                name="format",
                type=schemas.ExportFormat,
                default="json",
                description="`json` can be imported, `markdown` is for reading.",
            ),
            USER_ID,
        ),
        replies={
            200: (
                Reply(description="The file.", types=(Export,), headers=("Content-Disposition",)),
                Reply(description="The file.", media_type="text/markdown", headers=("Content-Disposition",)),
            )
        },
        errors=(Forbidden,),
    ),
    Operation(
        name="importConversation",
        method="post",
        path="/api/chat/import",
        tag="Export and import",
        summary="Make a copy of an exported conversation",
        description=(
            "With ids made from the caller's id and the file's: the same file again adds what is missing"
            " and nothing else, and a file of another user's is a copy of one's own. One that breaks off"
            " may have added a part; send it again."
        ),
        parameters=(USER_ID,),
        body=Body(
            type=archive.Archive,
            max_bytes=archive.MAX_BYTES,
            example={
                "format": "serverless-chat/1",
                "conversation": {
                    "id": "0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
                    "created_at": "2026-01-01T12:00:00Z",
                },
                "messages": [
                    {
                        "id": "5d0e6f0e-52b5-4a7c-8a8e-3a8b4f1f2c22",
                        "role": "user",
                        "content": "How do I sleep better?",
                        "created_at": "2026-01-01T12:00:00Z",
                    }
                ],
            },
        ),
        replies={
            201: (Reply(description="Something was new.", types=(schemas.Imported,), headers=_RATE),),
            200: (Reply(description="All of it was there.", types=(schemas.Imported,), headers=_RATE),),
        },
        errors=(Forbidden, Conflict, RateLimited),
    ),
    Operation(
        name="getUsage",
        method="get",
        path="/api/chat/usage",
        tag="Usage",
        summary="The caller's tokens and cost, and what is left of the budget",
        parameters=(
            Parameter(
                name="from",
                type=DayOrMoment,
                description="The first day (UTC) or moment; 30 days before `to` if it is left out.",
            ),
            Parameter(
                name="to",
                type=DayOrMoment,
                description="The last day, which counts, or a moment, which does not; now if it is left out.",
            ),
            Parameter(
                name="group_by",
                type=schemas.Grouping,
                default="day",
                description="What a row stands for.",
            ),
            USER_ID,
        ),
        replies={
            200: (
                Reply(
                    description="All of it, and by day, model or conversation: the costliest 1,000.",
                    types=(UsageByDay, UsageByModel, UsageByConversation),
                ),
            )
        },
        errors=(Forbidden,),
    ),
    Operation(
        name="signInAnonymously",
        method="post",
        path="/auth/anonymous",
        tag="Anonymous users",
        summary="A token for a new anonymous user, for 30 days",
        access="anybody",
        replies={
            200: (
                Reply(
                    description="The token is shown this once.",
                    types=(schemas.AnonymousUser,),
                    headers=("Cache-Control", *_RATE),
                ),
            )
        },
        errors=(Forbidden, RateLimited),
    ),
    Operation(
        name="claimConversations",
        method="post",
        path="/api/chat/conversations/claim",
        tag="Anonymous users",
        summary="Move an anonymous user's conversations to the caller's account",
        parameters=(USER_ID,),
        body=Body(type=schemas.Claim, max_bytes=web.MAX_BODY_BYTES),
        replies={
            200: (Reply(description="They are the caller's.", types=(schemas.Claimed,), headers=_RATE),)
        },
        errors=(Forbidden, Conflict, RateLimited),
    ),
    Operation(
        name="getDescription",
        method="get",
        path="/openapi.json",
        tag="Service",
        summary="This description",
        access="anybody",
        replies={200: (Reply(description="OpenAPI 3.1.", types=(dict[str, Any],)),)},
    ),
)
