"""What is stored of a turn: how it is begun, how it is settled, how it is read again."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from functions.chat_stream.request import ConversationRef
from functions.chat_stream.usage import UsageRow
from shared.errors import ChatError
from shared.events import Usage
from shared.llm.wire_format import ChatMessage
from shared.rate_limits import Rate

Status: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]


class NewTurn(Struct, frozen=True, kw_only=True):
    """What a turn is begun with. `key` is the client's name for it, `request_hash` of what it asked;
    `model` is the first choice as `provider/model`; the tokens bound the cost: those of the system
    prompt, of all that a stateless turn sends, and of the longest answer."""

    user_id: UUID
    answer_id: UUID
    question: str
    idempotency_key: str | None
    request_hash: bytes
    model: str
    system_tokens: int
    prompt_tokens: int
    max_tokens: int
    conversation: ConversationRef | None


class StartedTurn(Struct, frozen=True, kw_only=True):
    """A turn that may be answered. `repeated`: it has run, or is running; nobody is to be asked again.
    Without a conversation nothing of it is stored but its cost."""

    user_id: UUID
    answer_id: UUID
    conversation_id: UUID | None = None
    repeated: bool = False
    history: tuple[ChatMessage, ...] = ()
    rate: Rate | None = None


class Settlement(Struct, frozen=True, kw_only=True):
    """All that is committed at the end of a turn."""

    user_id: UUID
    answer_id: UUID
    status: Status
    content: str
    token_count: int
    metadata: Mapping[str, Any]
    usage: list[UsageRow]

    @classmethod
    def without_answer(cls, begun: StartedTurn, error: ChatError, usage: list[UsageRow]) -> "Settlement":
        """Of a turn that ended before any model began its answer."""
        return cls(
            user_id=begun.user_id,
            answer_id=begun.answer_id,
            status="error",
            content="",
            token_count=0,
            metadata={"code": error.code},
            usage=usage,
        )


class StoredUsage(Struct, frozen=True):
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    estimated: bool

    def as_event(self) -> Usage:
        return Usage(
            input=self.tokens_in,
            output=self.tokens_out,
            cache_read=self.tokens_cache_read,
            cache_write=self.tokens_cache_write,
            reasoning=self.tokens_reasoning,
            estimated=self.estimated,
        )


class StoredAnswer(Struct, frozen=True):
    """An answer from some character on. `length` is that of the whole text."""

    status: Literal["streaming", "complete", "cancelled", "interrupted", "error"]
    text: str
    length: int
    conversation_id: UUID
    metadata: Mapping[str, Any]
    usage: StoredUsage | None
