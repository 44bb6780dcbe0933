"""The file format of export and import.

JSON, `serverless-chat/1`: {"format", "conversation": {...}, "messages": [{...}, ...]}, oldest message first.
Markdown is for reading and cannot be imported. This module does no I/O: it gets pages of messages and returns
bytes.
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
from shared import costs
from shared.errors import InvalidRequest
from shared.ids import RequestId

MAX_BYTES = 5_000_000
MAX_MESSAGES = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The clock of the server that wrote a file may be this far ahead of the clock here.
_LEEWAY = timedelta(minutes=1)

Format = Literal["serverless-chat/1"]


class ArchivedConversation(Struct, frozen=True, kw_only=True):
    """The conversation of an imported file."""

    id: RequestId
    title: Title | None = None
    model: ModelName | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None
    created_at: Moment


class ArchivedMessage(Struct, frozen=True, kw_only=True):
    """`metadata` is at most 8 KB of JSON. Without a `token_count` the tokens of `content` are estimated."""

    id: RequestId
    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(max_length=1_000_000)]
    status: Status = "complete"
    token_count: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    metadata: dict[str, Any] = {}
    created_at: Moment


class Archive(Struct, frozen=True, kw_only=True):
    """`messages` are ordered from the oldest to the newest; none is in the future, and no id is repeated."""

    format: Format
    conversation: ArchivedConversation
    messages: Annotated[list[ArchivedMessage], Meta(max_length=MAX_MESSAGES)]


class ExportedConversation(Struct, frozen=True, kw_only=True):
    """The conversation of an exported file."""

    id: UUID
    title: Title | None = None
    model: ModelName | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None
    created_at: Moment


class Export(Struct, frozen=True, kw_only=True):
    """An exported file, which the import endpoint accepts."""

    format: Format
    conversation: ExportedConversation
    messages: list[Message]


async def as_json(
    conversation: Conversation, pages: AsyncIterator[Sequence[Message]]
) -> AsyncIterator[bytes]:
    """Encodes an `Export` in pieces. `pages` are the messages of the conversation, oldest first."""
    exported = msgspec.convert(conversation, ExportedConversation, from_attributes=True)
    head = Export(format="serverless-chat/1", conversation=exported, messages=[])
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
    """Encodes a Markdown file in pieces: the title, then each message under a heading with role and time."""
    yield f"# {_one_line(conversation.title)}\n".encode()
    async for messages in pages:
        for message in messages:
            when = f"{message.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            ending = "" if message.status == "complete" else f" ({message.status})"
            yield f"\n## {message.role.capitalize()}, {when}{ending}\n\n{message.content}\n".encode()


def disposition(conversation: Conversation, extension: str) -> str:
    """Returns the Content-Disposition header of a file that is named after the conversation (RFC 6266).

    The header contains the name twice: in ASCII for old clients, and in UTF-8.
    """
    name = re.sub(r"[^\w -]+", " ", _one_line(conversation.title))
    name = " ".join(name.split())[:80].strip() or "conversation"
    plain = re.sub(r"[^A-Za-z0-9_ -]", "_", name)
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{quote(name)}.{extension}"


def own_copy(archive: Archive, user_id: UUID, now: datetime) -> Archive:
    """Returns a copy of a file with new ids, for this user. The order of the messages stays.

    The new ids are made from the user's id and the ids in the file. The same file always gives the same ids,
    and another user gets other ids. Raises InvalidRequest for wrong times, a wrong order, repeated ids, and
    metadata that is too large.
    """
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
        messages=_copy_messages(archive.messages, conversation_id, now),
    )


def _copy_messages(
    messages: list[ArchivedMessage], conversation_id: UUID, now: datetime
) -> list[ArchivedMessage]:
    copies: dict[UUID, ArchivedMessage] = {}
    previous_in_file = previous_in_copy = _EPOCH
    for position, message in enumerate(messages):
        field = f"messages[{position}]"
        if message.id in copies:
            raise InvalidRequest(f"{field}.id is repeated", field=f"{field}.id")
        _check_moment(message.created_at, f"{field}.created_at", now)
        if message.created_at < previous_in_file:
            raise InvalidRequest(f"{field} is older than the message before it", field=f"{field}.created_at")
        check_metadata(message.metadata, f"{field}.metadata")
        previous_in_file = message.created_at
        # Messages with equal times would be ordered by their new ids, so each copy gets a later time.
        previous_in_copy = max(message.created_at.astimezone(UTC), previous_in_copy + _MICROSECOND)
        copies[message.id] = structs.replace(
            message,
            id=uuid5(conversation_id, str(message.id)),
            status=_status(message),
            token_count=costs.estimate_tokens(message.content)
            if message.token_count is None
            else message.token_count,
            created_at=previous_in_copy,
        )
    return list(copies.values())


def _status(message: ArchivedMessage) -> Status:
    """Returns the status of a copy. No turn writes to a copy, so `streaming` becomes `interrupted`."""
    if message.role == "user":
        return "complete"
    return "interrupted" if message.status == "streaming" else message.status


def _check_moment(moment: datetime, field: str, now: datetime) -> None:
    if not _EPOCH <= moment <= now + _LEEWAY:
        raise InvalidRequest(f"{field} must be after 1970 and not in the future", field=field)


def _one_line(title: str | None) -> str:
    return " ".join((title or "").split()) or "Conversation"
