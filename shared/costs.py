"""What an answer costs, and what is known of the models: `models.json`, prices in USD per million tokens.

No I/O but the reading of that file, once, when it is first needed.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.events import Usage

# Nobody is charged for them: the one runs on hardware of one's own, the other is a script.
_FREE = frozenset({"ollama", "scripted"})
_MILLION = 1_000_000
# As exact as the column `usage_logs.cost_usd`, and exact for any price of up to four decimals.
_SMALLEST = Decimal("1e-10")
# As many as the token columns hold; no model reads or writes a hundredth of it.
_MAX_TOKENS = 2**31 - 1


class Prices(Struct, frozen=True, kw_only=True):
    """USD per million tokens. Without a price of their own, cached tokens cost what others do."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


class LongPromptPrices(Prices, frozen=True, kw_only=True):
    """For a whole request whose prompt is longer than `prompt_tokens`."""

    prompt_tokens: int


class ModelInfo(Prices, frozen=True, kw_only=True):
    """A model. `context` and `max_output` are in tokens; `sampling` is False where it refuses
    `temperature`; `thinks` says that it always thinks before its first text."""

    provider: str
    context: int
    max_output: int
    sampling: bool
    thinks: bool
    above: LongPromptPrices | None = None


class Cost(Struct, frozen=True):
    """US dollars, rounded half up to ten decimals. `priced` is False where the model is not in the
    table and the fallback price was taken: worth a warning, by whoever knows the request."""

    usd: Decimal
    priced: bool


# Of the order of the larger models: what nobody knows the price of had better not look cheap.
_FALLBACK = Prices(input=Decimal(5), output=Decimal(15))


def lookup(provider: str, model: str) -> ModelInfo | None:
    """What is known of the model by that vendor's name, at that provider; None if it is nothing."""
    known = _models().get(model)
    return known if known and known.provider == provider else None


def cost(provider: str, model: str, usage: Usage) -> Cost:
    """The price of one request. Counts that cannot be (negative, astronomical, more cached than sent)
    are cut to what can, so that there is always a cost and never a negative one."""
    if provider in _FREE:
        return Cost(usd=Decimal(0), priced=True)
    known = lookup(provider, model)
    prices: Prices = known or _FALLBACK
    sent = _cut(usage.input, _MAX_TOKENS)
    cache_read = _cut(usage.cache_read, sent)
    cache_write = _cut(usage.cache_write, sent - cache_read)
    received = _cut(usage.output, _MAX_TOKENS)
    if known and known.above and sent > known.above.prompt_tokens:
        prices = known.above
    millionths = (
        (sent - cache_read - cache_write) * prices.input
        + cache_read * _or(prices.cache_read, prices.input)
        + cache_write * _or(prices.cache_write, prices.input)
        + received * prices.output
    )
    return Cost(usd=(millionths / _MILLION).quantize(_SMALLEST, ROUND_HALF_UP), priced=known is not None)


def estimate_tokens(*texts: str) -> int:
    """About how many tokens some texts are: of each, one for four bytes of UTF-8, rounded up.

    English has four letters to a token. Counting bytes and not letters keeps it near the truth where a
    letter takes several of both, and no tokenizer is worth its start-up time for a guess.
    """
    return sum(-(-len(text.encode("utf-8", "replace")) // 4) for text in texts)


def _cut(tokens: int, most: int) -> int:
    return min(max(tokens, 0), most)


def _or(price: Decimal | None, otherwise: Decimal) -> Decimal:
    # A price of zero is a price.
    return otherwise if price is None else price


class _Table(Struct):
    models: Mapping[str, ModelInfo]


@cache
def _models() -> Mapping[str, ModelInfo]:
    data = Path(__file__).with_name("models.json").read_bytes()
    return msgspec.json.decode(data, type=_Table).models
