"""What an attempt at an answer cost, as a row of usage_logs."""

from uuid import UUID, uuid4

from msgspec import Struct

from shared import costs
from shared.events import Usage
from shared.llm.providers import ModelTarget


class UsageRow(Struct, frozen=True, kw_only=True):
    """Times in milliseconds, money in USD as a decimal string."""

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
    def of(
        cls, target: ModelTarget, usage: Usage, *, status: str, duration: float, ttft: float | None = None
    ) -> "UsageRow":
        """`duration` and `ttft`, the time to the first token, in seconds."""
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
