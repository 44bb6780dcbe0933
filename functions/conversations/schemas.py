"""The types of the request bodies and responses of this function.

The OpenAPI document contains the docstrings and the limits of these types.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from shared.errors import InvalidRequest
from shared.ids import RequestId

MAX_CONTENT = 32_000  # characters, as for the question of a turn
_MAX_METADATA_BYTES = 8192
# The JSON escape of NUL: `u0000` after an odd number of backslashes.
_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")

# A text with at least one character that is not white space.
Title: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"\S")]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
# The constraints are for OpenAPI only: the server writes these texts itself.
Day: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date"})]
Money: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": r"^\d+(\.\d+)?$"})]
Ending: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]
Status: TypeAlias = Literal["streaming"] | Ending
Grouping: TypeAlias = Literal["day", "model", "conversation"]
ExportFormat: TypeAlias = Literal["json", "markdown"]


class NewConversation(Struct, frozen=True, kw_only=True):
    """A new conversation. `user_id` is optional and must be the caller's own id."""

    user_id: RequestId | None = None
    title: Title | None = None
    model: ModelName | None = None
    context_window: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None


class ConversationPatch(Struct, frozen=True, kw_only=True):
    """An absent field stays unchanged, and null clears a field. A conversation without a title gets one from
    the next message of its user."""

    title: Title | UnsetType | None = UNSET
    model: ModelName | UnsetType | None = UNSET
    tags: Annotated[list[Tag], Meta(max_length=20)] | UnsetType | None = UNSET


class NewMessage(Struct, frozen=True, kw_only=True):
    """A new message. `metadata` is at most 8 KB of JSON. The server sets the fields that must be null."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1, max_length=MAX_CONTENT, pattern=r"\S")]
    metadata: dict[str, Any] = {}
    user_id: RequestId | None = None
    status: None = None
    token_count: None = None
    cost: None = None
    cost_usd: None = None


class Claim(Struct, frozen=True, kw_only=True):
    """`token` is the token of the anonymous user."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class Conversation(Struct, frozen=True, kw_only=True):
    """A conversation. `total_tokens` is the number of tokens in its messages."""

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
    """A message. The `content` of an answer grows while its `status` is `streaming`."""

    id: UUID
    role: Literal["system", "user", "assistant"]
    content: str
    status: Status
    token_count: int
    metadata: dict[str, Any]
    created_at: Moment


class ConversationPage(Struct, frozen=True):
    """`total` counts all conversations of the caller. `next_cursor` is null on the last page."""

    conversations: list[Conversation]
    total: int
    next_cursor: str | None


class MessagePage(Struct, frozen=True):
    """`total` counts all messages of the conversation. `next_cursor` is null on the last page."""

    messages: list[Message]
    total: int
    next_cursor: str | None


class Cancellation(Struct, frozen=True):
    """`status` is `cancelling` until the answer has stopped, then the final status of the answer."""

    id: UUID
    status: Literal["cancelling"] | Ending


class AnonymousUser(Struct, frozen=True):
    """A new anonymous user, with the bearer token for its requests."""

    token: str
    user_id: UUID
    expires_at: Moment


class Claimed(Struct, frozen=True):
    """`claimed` is the number of conversations that were moved to the caller."""

    claimed: int


class Figures(Struct, frozen=True, kw_only=True):
    """`tokens_in` includes cached tokens, `tokens_out` includes reasoning tokens. `estimated_share` is the
    share of turns, 0 to 1, whose tokens are estimated because the provider did not report them."""

    turns: int
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_usd: Money
    estimated_share: float


class DayFigures(Figures, frozen=True, kw_only=True):
    """The tokens and the cost of one day in UTC."""

    day: Day


class ModelFigures(Figures, frozen=True, kw_only=True):
    """The tokens and the cost of one model of a provider."""

    provider: str
    model: str


class ConversationFigures(Figures, frozen=True, kw_only=True):
    """The tokens and the cost of one conversation, which may be deleted. `conversation_id` is null for turns
    that were not stored."""

    conversation_id: UUID | None


class Budget(Struct, frozen=True, kw_only=True):
    """The budget of the current day in UTC. `reserved_usd` is the amount reserved for running answers."""

    limit_usd: Money
    spent_usd: Money
    reserved_usd: Money
    left_usd: Money
    renews_at: Moment


class UsageByDay(Struct, frozen=True, kw_only=True):
    """A report by day. `budget` is null if the deployment sets no budget."""

    totals: Figures
    rows: list[DayFigures]
    budget: Budget | None


class UsageByModel(Struct, frozen=True, kw_only=True):
    """A report by model. `budget` is null if the deployment sets no budget."""

    totals: Figures
    rows: list[ModelFigures]
    budget: Budget | None


class UsageByConversation(Struct, frozen=True, kw_only=True):
    """A report by conversation. `budget` is null if the deployment sets no budget."""

    totals: Figures
    rows: list[ConversationFigures]
    budget: Budget | None


UsageReport: TypeAlias = UsageByDay | UsageByModel | UsageByConversation


class SearchResult(Struct, frozen=True, kw_only=True):
    """`snippet` is a part of the message, as plain text. `matches` are the start and the end of each match in
    `snippet`, counted in Unicode characters from 0; the end is not included."""

    message_id: UUID
    conversation_id: UUID
    title: str | None
    role: Literal["system", "user", "assistant"]
    snippet: str
    matches: list[tuple[int, int]]
    created_at: Moment


class SearchResults(Struct, frozen=True):
    """`results` are ordered from the best match to the worst."""

    results: list[SearchResult]


class Imported(Struct, frozen=True, kw_only=True):
    """`id` is the id of the conversation; `skipped` counts the messages that were stored already."""

    id: UUID
    imported: int
    skipped: int


def check_metadata(metadata: dict[str, Any], field: str) -> None:
    """Raises InvalidRequest with `field` if the JSON of `metadata` is over 8 KB or contains NUL."""
    encoded = msgspec.json.encode(metadata)
    if len(encoded) > _MAX_METADATA_BYTES:
        raise InvalidRequest(f"{field} must be at most {_MAX_METADATA_BYTES} bytes", field=field)
    if _NUL.search(encoded):
        raise InvalidRequest(f"{field} has a NUL character in a text", field=field)
