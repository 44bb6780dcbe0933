"""The table of models (`models.json`, prices in USD per million tokens), and the cost of an answer.

The file is read once, when it is first needed. There is no other I/O.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.events import Usage
from shared.llm.providers import PROVIDERS

_MILLION = 1_000_000
# The precision of the column `usage_logs.cost_usd`. It is exact for prices with up to four decimals.
_SMALLEST = Decimal("1e-10")
# The largest value of the token columns. No model reads or writes as many tokens.
_MAX_TOKENS = 2**31 - 1


class Prices(Struct, frozen=True, kw_only=True):
    """USD per million tokens. Cached tokens without a price cost as much as other input."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


class LongPromptPrices(Prices, frozen=True, kw_only=True):
    """The prices of a whole request whose prompt is longer than `prompt_tokens`."""

    prompt_tokens: int


class ModelInfo(Prices, frozen=True, kw_only=True):
    """A model. `context` and `max_output` are in tokens. `sampling` is False if the model refuses
    `temperature`. `thinks` is True if it always thinks before its first text."""

    provider: str
    context: int
    max_output: int
    sampling: bool
    thinks: bool
    above: LongPromptPrices | None = None


class Cost(Struct, frozen=True):
    """US dollars, rounded half up to ten decimals. `priced` is False if the model is not in the table and
    the fallback price was used."""

    usd: Decimal
    priced: bool


# About the prices of the larger models, so that a model without a known price does not look cheap.
_FALLBACK = Prices(input=Decimal(5), output=Decimal(15))


def lookup(provider: str, model: str) -> ModelInfo | None:
    """The row of a model in the table; None if it is not there. `model` is the vendor's name."""
    known = _models().get(model)
    return known if known and known.provider == provider else None


def cost(provider: str, model: str, usage: Usage) -> Cost:
    """The price of one request. Impossible counts (negative, too large, more cached tokens than input) are
    clamped, so the cost is never negative. Free providers (`is_free`) cost 0."""
    if provider in PROVIDERS and PROVIDERS[provider].is_free:
        return Cost(usd=Decimal(0), priced=True)
    known = lookup(provider, model)
    prices: Prices = known or _FALLBACK
    input_tokens = _clamp(usage.input, _MAX_TOKENS)
    cache_read = _clamp(usage.cache_read, input_tokens)
    cache_write = _clamp(usage.cache_write, input_tokens - cache_read)
    output_tokens = _clamp(usage.output, _MAX_TOKENS)
    if known and known.above and input_tokens > known.above.prompt_tokens:
        prices = known.above
    millionths = (
        (input_tokens - cache_read - cache_write) * prices.input
        + cache_read * _price_or(prices.cache_read, prices.input)
        + cache_write * _price_or(prices.cache_write, prices.input)
        + output_tokens * prices.output
    )
    return Cost(usd=(millionths / _MILLION).quantize(_SMALLEST, ROUND_HALF_UP), priced=known is not None)


def estimate_tokens(*texts: str) -> int:
    """An estimate of the tokens of some texts: one for each four bytes of UTF-8, rounded up for each text.

    English has about four letters in a token. Bytes are a better measure than letters for scripts whose
    letters take several bytes and tokens. A tokenizer would cost more start-up time than an estimate is
    worth.
    """
    return sum(-(-len(text.encode("utf-8", "replace")) // 4) for text in texts)


def _clamp(tokens: int, maximum: int) -> int:
    return min(max(tokens, 0), maximum)


def _price_or(price: Decimal | None, default: Decimal) -> Decimal:
    # A price of 0 is a price, so `or` would be wrong.
    return default if price is None else price


class _Table(Struct):
    models: Mapping[str, ModelInfo]


@cache
def _models() -> Mapping[str, ModelInfo]:
    data = Path(__file__).with_name("models.json").read_bytes()
    return msgspec.json.decode(data, type=_Table).models
