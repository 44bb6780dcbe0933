"""What goes in and what comes out: the bodies as they are validated, the answers as they are sent.

The description of the API is made from these types.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from shared.errors import InvalidRequest

MAX_CONTENT = 32_000  # characters, as for a question that is asked
_MAX_METADATA_BYTES = 8192
# An escape that means NUL, and not the text of one: the backslashes before it are in pairs.
_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")

# With something in it that is no white space.
Title: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"\S")]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
# In words for the description alone: what is in them is ours.
Day: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date"})]
Money: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": r"^\d+(\.\d+)?$"})]
Ending: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]
Status: TypeAlias = Literal["streaming"] | Ending
Grouping: TypeAlias = Literal["day", "model", "conversation"]
ExportFormat: TypeAlias = Literal["json", "markdown"]


class NewConversation(Struct, frozen=True, kw_only=True):
    """`user_id` may be given, and is the caller's own then."""

    user_id: UUID | None = None
    title: Title | None = None
    model: ModelName | None = None
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None


class ConversationPatch(Struct, frozen=True, kw_only=True):
    """What is absent stays, what is null is cleared. A conversation without a title takes one from
    the next message of its user; one with a title keeps it."""

    title: Title | UnsetType | None = UNSET
    model: ModelName | UnsetType | None = UNSET
    tags: Annotated[list[Tag], Meta(max_length=20)] | UnsetType | None = UNSET


class NewMessage(Struct, frozen=True, kw_only=True):
    """`metadata` is at most 8 KB of JSON. What is null here is for the server alone to say."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1, max_length=MAX_CONTENT, pattern=r"\S")]
    metadata: dict[str, Any] = {}
    user_id: UUID | None = None
    status: None = None
    token_count: None = None
    cost: None = None
    cost_usd: None = None


class Claim(Struct, frozen=True, kw_only=True):
    """The token of the anonymous user that the caller was before."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class Conversation(Struct, frozen=True, kw_only=True):
    id: UUID
    user_id: UUID
    title: str | None
    model: str | None
    tags: list[str]
    context_window: int | None
    total_tokens: int
    message_count: int
    last_message_at: Moment | None
    created_at: Moment
    updated_at: Moment


class Message(Struct, frozen=True, kw_only=True):
    id: UUID
    role: Literal["system", "user", "assistant"]
    content: str
    status: Status
    token_count: int
    metadata: dict[str, Any]
    created_at: Moment


class ConversationPage(Struct, frozen=True):
    """`total` counts all of the caller's; without a `next_cursor` this page is the last."""

    conversations: list[Conversation]
    total: int
    next_cursor: str | None


class MessagePage(Struct, frozen=True):
    """`total` counts all of the conversation's; without a `next_cursor` this page is the last."""

    messages: list[Message]
    total: int
    next_cursor: str | None


class Cancellation(Struct, frozen=True):
    """`cancelling` until the turn has stopped; then, and ever after, how it ended."""

    id: UUID
    status: Literal["cancelling"] | Ending


class AnonymousUser(Struct, frozen=True):
    token: str
    user_id: UUID
    expires_at: Moment


class Claimed(Struct, frozen=True):
    """The number of conversations that are the caller's now."""

    claimed: int


class Figures(Struct, frozen=True, kw_only=True):
    """`tokens_in` and `tokens_out` are whole, with what was cached and thought in them; `cost_usd` is a
    decimal string; `estimated_share` is the part, 0 to 1, of the turns whose provider did not count."""

    turns: int
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_usd: Money
    estimated_share: float


class DayFigures(Figures, frozen=True, kw_only=True):
    day: Day


class ModelFigures(Figures, frozen=True, kw_only=True):
    provider: str
    model: str


class ConversationFigures(Figures, frozen=True, kw_only=True):
    """`conversation_id` may be of one that is deleted, and is null where nothing was stored."""

    conversation_id: UUID | None


class Budget(Struct, frozen=True, kw_only=True):
    """A day's, in UTC. `reserved_usd` is held back for answers that are being written."""

    limit_usd: Money
    spent_usd: Money
    reserved_usd: Money
    left_usd: Money
    renews_at: Moment


class UsageReport(Struct, frozen=True, kw_only=True):
    totals: Figures
    rows: Sequence[DayFigures | ModelFigures | ConversationFigures]
    budget: Budget | None


class SearchResult(Struct, frozen=True, kw_only=True):
    """`snippet` is plain text out of the message. `matches` are the places in it of what was found:
    begin and end, counted in Unicode characters from 0, the end not included."""

    message_id: UUID
    conversation_id: UUID
    title: str | None
    role: Literal["system", "user", "assistant"]
    snippet: str
    matches: list[tuple[int, int]]
    created_at: Moment


class SearchResults(Struct, frozen=True):
    """The best first."""

    results: list[SearchResult]


class Imported(Struct, frozen=True, kw_only=True):
    """`id` is the conversation's; `skipped` are the messages that were there already."""

    id: UUID
    imported: int
    skipped: int


def check_metadata(metadata: dict[str, Any], field: str) -> None:
    """What the type does not say. Raises InvalidRequest."""
    encoded = msgspec.json.encode(metadata)
    if len(encoded) > _MAX_METADATA_BYTES:
        raise InvalidRequest(f"{field} must be at most {_MAX_METADATA_BYTES} bytes", field=field)
    if _NUL.search(encoded):
        raise InvalidRequest(f"{field} has a NUL character in a text", field=field)
