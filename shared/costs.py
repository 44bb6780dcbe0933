"""The table of models (`models.json`, prices in USD per million tokens), and the cost of an answer.

The file is read once, when it is first needed. There is no other I/O.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
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
# The most tokens that mark the beginning, the role and the end of a message in a prompt.
_MESSAGE_MARK_TOKENS = 16
# What may follow the name of a model without a change of the price: a date, `-latest`, or a host or variant
# after `@` or `:`. Any other ending is another model: `o1-pro` costs ten times as much as `o1`.
_VARIANT = re.compile(r"[@:].*", re.DOTALL)
_VERSION = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)\Z", re.ASCII)


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
_FREE = Prices(input=Decimal(0), output=Decimal(0))


class UpperPrices(Struct, frozen=True, kw_only=True):
    """The highest prices that a request can have, in USD for a token. The prices with `long_` are for prompts
    of more than `long_from` tokens; None if no model has such prices."""

    prompt: Decimal
    answer: Decimal
    long_from: int | None
    long_prompt: Decimal
    long_answer: Decimal


def lookup(provider: str, model: str) -> ModelInfo | None:
    """The row of a model in the table; None if it is not there. `model` is the vendor's name, also with a
    date, `-latest`, `@…` or `:…` at its end."""
    known = _models().get(_listed_name(model))
    return known if known and known.provider == provider else None


def is_listed(provider: str, model: str) -> bool:
    """Whether the table has exactly this name. There are few such names, unlike the names of `lookup`."""
    return model in _models() and _models()[model].provider == provider


def is_priced(name: str) -> bool:
    """Whether the price of a `provider/model` is known."""
    provider, _, model = name.partition("/")
    return _is_free(provider) or lookup(provider, model) is not None


def max_output(name: str, default: int) -> int:
    """The most tokens that an answer of a `provider/model` can have; `default` if the model is not known."""
    provider, _, model = name.partition("/")
    known = lookup(provider, model)
    return default if known is None else known.max_output


@lru_cache(maxsize=64)
def upper_prices(names: tuple[str, ...]) -> UpperPrices:
    """The highest prices of several models (`provider/model`). A token of the prompt costs at most as much as
    other input, or as a token that is written to the cache."""
    prices = [_prices(name) for name in names]
    short = [price for price, _ in prices]
    long = [above or price for price, above in prices]
    limits = [above.prompt_tokens for _, above in prices if above is not None]
    return UpperPrices(
        prompt=max(map(_dearest_input, short)) / _MILLION,
        answer=max(price.output for price in short) / _MILLION,
        long_from=min(limits, default=None),
        long_prompt=max(map(_dearest_input, long)) / _MILLION,
        long_answer=max(price.output for price in long) / _MILLION,
    )


def cost(provider: str, model: str, usage: Usage) -> Cost:
    """The price of one request. Impossible counts (negative, too large, more cached tokens than input) are
    clamped, so the cost is never negative. Free providers (`is_free`) cost 0."""
    if _is_free(provider):
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


def max_prompt_tokens(*texts: str) -> int:
    """The most tokens that a prompt of these texts can have. A token has at least one byte of UTF-8, and each
    message has some tokens that mark its role. The estimate is about a quarter of it."""
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    return sum(sizes) + _MESSAGE_MARK_TOKENS * len(sizes)


def _listed_name(model: str) -> str:
    """The name in the table that a name stands for; the name itself if there is none."""
    if model in _models():
        return model
    name = _VARIANT.sub("", model)
    return name if name in _models() else _VERSION.sub("", name)


def _is_free(provider: str) -> bool:
    return provider in PROVIDERS and PROVIDERS[provider].is_free


def _prices(name: str) -> tuple[Prices, LongPromptPrices | None]:
    """The prices of a `provider/model`, and those for long prompts if it has some."""
    provider, _, model = name.partition("/")
    if _is_free(provider):
        return _FREE, None
    known = lookup(provider, model)
    return (_FALLBACK, None) if known is None else (known, known.above)


def _dearest_input(prices: Prices) -> Decimal:
    return max(
        prices.input,
        _price_or(prices.cache_read, prices.input),
        _price_or(prices.cache_write, prices.input),
    )


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
