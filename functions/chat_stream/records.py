"""The records that a turn sends to the database and reads from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid4

from msgspec import Struct

from functions.chat_stream.request import ConversationRef
from shared import costs
from shared.errors import ChatError
from shared.events import Failed, Finished, Usage
from shared.llm.providers import ModelTarget
from shared.llm.wire_format import ChatMessage
from shared.rate_limits import RateLimitState

Status: TypeAlias = Literal["complete", "cancelled", "interrupted", "error"]


def final_status(end: Finished | Failed) -> Status:
    if isinstance(end, Failed):
        return "error"
    if end.reason == "cancelled":
        return "cancelled"
    return "interrupted" if end.reason == "deadline" else "complete"


class HistoryLimits(Struct, frozen=True):
    """The most history that a model gets. `messages`: at least this number if they fit, and fewer than `step`
    more, because the start of the history moves by `step` messages. `text_bytes`: the bytes of the text."""

    messages: int
    step: int
    text_bytes: int


class NewTurn(Struct, frozen=True, kw_only=True):
    """A new turn, as `TurnStore.begin` stores it.

    `is_anonymous`: the user has no account. `idempotency_key`: None if the client sent none. `request_hash`:
    the SHA-256 hash of the request. It must be equal when the key is used again. `resumes`: the client has a
    part of the answer, so only an earlier call can have started the turn. `models`: the models that may
    answer, as `provider/model`, the first choice first.
    `system_tokens`, `prompt_tokens` and `max_tokens` are for an estimate of the cost: the tokens of the
    system prompt, of the whole prompt of a stateless turn, and the limit of the answer. For a stored turn the
    database adds the tokens of the history.
    `system_bytes`, `prompt_bytes` and `fixed_bytes` are upper bounds for budgets (`costs.max_prompt_tokens`):
    of the system prompt, of the whole prompt of a stateless turn, and of system prompt and question.
    `conversation`: None for a stateless turn.
    """

    user_id: UUID
    is_anonymous: bool
    answer_id: UUID
    question: str
    idempotency_key: str | None
    request_hash: bytes
    resumes: bool = False
    models: tuple[str, ...]
    system_tokens: int
    prompt_tokens: int
    system_bytes: int
    fixed_bytes: int
    prompt_bytes: int
    max_tokens: int
    history: HistoryLimits
    conversation: ConversationRef | None


class StartedTurn(Struct, frozen=True, kw_only=True):
    """The result of `TurnStore.begin`.

    `conversation_id`: None for a stateless turn, or a turn that could not be stored.
    `repeated`: an earlier call has started the turn. Replay the stored answer; do not call a model.
    `history`: the newest messages of the conversation, the question last. `message_count`: the number of
    messages in the conversation up to the question.
    `max_tokens` of the answer and `prompt_bytes` (`costs.max_prompt_tokens`) are what the budgets pay; None
    where no budget is set. `is_budget_limited`: the client may have more tokens, but the budgets do not pay
    them.
    """

    user_id: UUID
    answer_id: UUID
    conversation_id: UUID | None = None
    repeated: bool = False
    history: tuple[ChatMessage, ...] = ()
    message_count: int = 0
    max_tokens: int | None = None
    prompt_bytes: int | None = None
    is_budget_limited: bool = False
    rate_limit: RateLimitState | None = None


class UsageRow(Struct, frozen=True, kw_only=True):
    """A row of `usage_logs`: the usage and cost of one attempt. `cost_usd` is a decimal string."""

    id: UUID
    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_usd: str
    priced: bool
    estimated: bool
    status: str
    ttft_ms: int | None
    duration_ms: int

    @classmethod
    def from_usage(
        cls, target: ModelTarget, usage: Usage, *, status: str, duration: float, ttft: float | None = None
    ) -> "UsageRow":
        """`duration`, and `ttft` (the time to the first token), are in seconds."""
        cost = costs.cost(target.provider.name, target.model, usage)
        return cls(
            id=uuid4(),
            provider=target.provider.name,
            model=target.model,
            tokens_in=usage.input,
            tokens_out=usage.output,
            tokens_cache_read=usage.cache_read,
            tokens_cache_write=usage.cache_write,
            tokens_reasoning=usage.reasoning,
            cost_usd=format(cost.usd, "f"),
            priced=cost.priced,
            estimated=usage.estimated,
            status=status,
            ttft_ms=None if ttft is None else round(ttft * 1000),
            duration_ms=round(duration * 1000),
        )


class Settlement(Struct, frozen=True, kw_only=True):
    """The data that settles a turn, committed in one transaction."""

    user_id: UUID
    answer_id: UUID
    status: Status
    content: str
    token_count: int
    metadata: Mapping[str, Any]
    usage: Sequence[UsageRow]

    @classmethod
    def without_answer(
        cls, started: StartedTurn, error: ChatError, usage: Sequence[UsageRow] = ()
    ) -> "Settlement":
        """For a turn that ended before a model began its answer."""
        return cls(
            user_id=started.user_id,
            answer_id=started.answer_id,
            status="error",
            content="",
            token_count=0,
            metadata={"code": error.code, **refusal_mark(error.code)},
            usage=usage,
        )


def refusal_mark(end: str) -> dict[str, bool]:
    """The metadata of an answer that a content filter refused or cut; `end` is its code or finish reason. The
    database copies it to the question. Marked messages stay in the conversation and leave the prompt, because
    the filter would refuse each later question with them."""
    return {"refused": True} if end == "content_filter" else {}


class StoredUsage(Struct, frozen=True):
    """The columns of `usage_logs` that a replay needs."""

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
    """A stored answer. `text` is the part after the requested offset. `length` is the length of the whole
    text in characters."""

    status: Literal["streaming", "complete", "cancelled", "interrupted", "error"]
    text: str
    length: int
    conversation_id: UUID
    metadata: Mapping[str, Any]
    usage: StoredUsage | None
