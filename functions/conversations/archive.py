"""The file that a conversation is exported to and imported from: written piece by piece, read strictly.

JSON, `serverless-chat/1`: {"format", "conversation": {...}, "messages": [{...}, ...]}, the oldest first.
Markdown is for people, and is not read again. No I/O: pages of messages come in, bytes go out.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID, uuid5

import msgspec
from msgspec import Meta, Struct, structs

from functions.conversations.schemas import (
    Conversation,
    Message,
    ModelName,
    Moment,
    Status,
    Tag,
    Title,
    check_metadata,
)
from shared import costs, web
from shared.errors import InvalidRequest

MAX_BYTES = 5_000_000
MAX_MESSAGES = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# By which the clock that wrote a file may be ahead of the one that reads it.
_LEEWAY = timedelta(minutes=1)

Format = Literal["serverless-chat/1"]


class ArchivedConversation(Struct, frozen=True, kw_only=True):
    id: UUID
    title: Title | None = None
    model: ModelName | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None
    created_at: Moment


class ArchivedMessage(Struct, frozen=True, kw_only=True):
    """`metadata` is at most 8 KB of JSON. Without a `token_count` the content is measured."""

    id: UUID
    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(max_length=1_000_000)]
    status: Status = "complete"
    token_count: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    metadata: dict[str, Any] = {}
    created_at: Moment


class Archive(Struct, frozen=True, kw_only=True):
    """`messages` from the oldest to the newest, none of them later than now, and no id twice."""

    format: Format
    conversation: ArchivedConversation
    messages: Annotated[list[ArchivedMessage], Meta(max_length=MAX_MESSAGES)]


async def as_json(
    conversation: Conversation, pages: AsyncIterator[Sequence[Message]]
) -> AsyncIterator[bytes]:
    archived = msgspec.convert(conversation, ArchivedConversation, from_attributes=True)
    head = Archive(format="serverless-chat/1", conversation=archived, messages=[])
    yield msgspec.json.encode(head).removesuffix(b"]}")
    separator = b"\n"
    async for messages in pages:
        for message in messages:
            yield separator + msgspec.json.encode(message)
            separator = b",\n"
    yield b"\n]}\n"


async def as_markdown(
    conversation: Conversation, pages: AsyncIterator[Sequence[Message]]
) -> AsyncIterator[bytes]:
    yield f"# {_one_line(conversation.title)}\n".encode()
    async for messages in pages:
        for message in messages:
            when = f"{message.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            ending = "" if message.status == "complete" else f" ({message.status})"
            yield f"\n## {message.role.capitalize()}, {when}{ending}\n\n{message.content}\n".encode()


def disposition(conversation: Conversation, extension: str) -> str:
    """The Content-Disposition of a file named after the conversation (RFC 6266): in ASCII for old
    clients, and as it is written."""
    name = re.sub(r"[^\w -]+", " ", _one_line(conversation.title))
    name = " ".join(name.split())[:80].strip() or "conversation"
    plain = re.sub(r"[^A-Za-z0-9_ -]", "_", name)
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{quote(name)}.{extension}"


def read(body: bytes, user_id: UUID, now: datetime) -> Archive:
    """A file as this user's own: with ids made from the user's and the file's, the same each time and
    nobody else's, in the order of the file. Raises InvalidRequest."""
    archive = web.decode(body, Archive)
    _check_moment(archive.conversation.created_at, "conversation.created_at", now)
    conversation_id = uuid5(user_id, str(archive.conversation.id))
    return Archive(
        format=archive.format,
        conversation=structs.replace(
            archive.conversation,
            id=conversation_id,
            tags=list(dict.fromkeys(archive.conversation.tags)),
            created_at=archive.conversation.created_at.astimezone(UTC),
        ),
        messages=_read_messages(archive.messages, conversation_id, now),
    )


def _read_messages(
    messages: list[ArchivedMessage], conversation_id: UUID, now: datetime
) -> list[ArchivedMessage]:
    found: dict[UUID, ArchivedMessage] = {}
    said_before = stands_before = _EPOCH
    for position, message in enumerate(messages):
        field = f"messages[{position}]"
        if message.id in found:
            raise InvalidRequest(f"{field}.id is there twice", field=f"{field}.id")
        _check_moment(message.created_at, f"{field}.created_at", now)
        if message.created_at < said_before:
            raise InvalidRequest(f"{field} is older than the one before", field=f"{field}.created_at")
        check_metadata(message.metadata, f"{field}.metadata")
        said_before = message.created_at
        # Of two with the same time the id decides which is first, and the ids are new.
        stands_before = max(message.created_at.astimezone(UTC), stands_before + _MICROSECOND)
        found[message.id] = structs.replace(
            message,
            id=uuid5(conversation_id, str(message.id)),
            status=_status(message),
            token_count=costs.estimate_tokens(message.content)
            if message.token_count is None
            else message.token_count,
            created_at=stands_before,
        )
    return list(found.values())


def _status(message: ArchivedMessage) -> Status:
    """Nobody is writing an answer out of a file."""
    if message.role == "user":
        return "complete"
    return "interrupted" if message.status == "streaming" else message.status


def _check_moment(moment: datetime, field: str, now: datetime) -> None:
    if not _EPOCH <= moment <= now + _LEEWAY:
        raise InvalidRequest(f"{field} must be after 1970 and not in the future", field=field)


def _one_line(title: str | None) -> str:
    return " ".join((title or "").split()) or "Conversation"
