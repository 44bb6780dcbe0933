import json
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import costs
from shared.costs import Cost, cost, estimate_tokens, lookup
from shared.events import Usage

SONNET = "claude-sonnet-5-5"  # 2 in, 10 out, 0.1 cache read, 2.5 cache write
HAIKU = "claude-haiku-5-5"  # 0.1, 0.5, 0.01, 0.125; above 100,000 in: 0.5, 2.5, 0.05, 0.625

TABLE = json.loads(Path(costs.__file__).with_name("models.json").read_bytes())["models"]
MODELS = sorted((row["provider"], name) for name, row in TABLE.items())
counts = st.integers(0, 5_000_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
models = st.sampled_from([*MODELS, ("nvidia", "meta/llama-3.3-70b-instruct")])


def usd_of(model: tuple[str, str], usage: Usage) -> Decimal:
    provider, name = model
    return cost(provider, name, usage).usd


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        # 1,000 x 2 + 500 x 10 = 7,000 millionths
        ("anthropic", SONNET, Usage(1_000, 500), "0.007"),
        # 100 x 2 + 700 x 0.1 + 200 x 2.5 + 500 x 10 = 5,770 millionths
        ("anthropic", SONNET, Usage(1_000, 500, cache_read=700, cache_write=200, reasoning=300), "0.00577"),
        # 1 x 0.1 + 1 x 0.5
        ("anthropic", HAIKU, Usage(1, 1), "0.0000006"),
        # At 100,000 the short price applies: 90,000 x 0.1 + 10,000 x 0.01 + 1,000 x 0.5
        ("anthropic", HAIKU, Usage(100_000, 1_000, cache_read=10_000), "0.0096"),
        # Above it, all tokens cost the long price: 90,001 x 0.5 + 10,000 x 0.05 + 1,000 x 2.5
        ("anthropic", HAIKU, Usage(100_001, 1_000, cache_read=10_000), "0.0480005"),
        # gpt-6.1-sol: 800 x 2 + 150 x 0.1 + 50 x 2.5 + 100 x 10
        ("openai", "gpt-6.1-sol", Usage(1_000, 100, cache_read=150, cache_write=50), "0.00274"),
        # gpt-4 has no cache prices: 1,000 x 30 + 10 x 60
        ("openai", "gpt-4", Usage(1_000, 10, cache_read=400, cache_write=100), "0.0306"),
        # gpt-5.4 has no price for cache writes, long prompt or short: 300,000 x 5
        ("openai", "gpt-5.4", Usage(300_000, 0, cache_write=1_000), "1.5"),
        ("anthropic", SONNET, Usage(0, 0), "0"),
    ],
)
def test_costs_calculated_by_hand(provider, model, usage, usd):
    assert cost(provider, model, usage) == Cost(Decimal(usd), priced=True)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-of-tomorrow"),
        ("nvidia", "meta/llama-3.3-70b-instruct"),
        ("nvidia", "gpt-4"),
        ("openai", SONNET),
        ("", ""),
    ],
)
def test_an_unknown_model_costs_the_fallback_prices_and_is_not_priced(provider, model):
    # 600 x 5 + 300 x 5 + 100 x 5 + 500 x 15
    usage = Usage(1_000, 500, cache_read=300, cache_write=100)
    assert cost(provider, model, usage) == Cost(Decimal("0.0125"), priced=False)
    assert lookup(provider, model) is None


@pytest.mark.parametrize(
    ("provider", "model"), [("ollama", "qwen3"), ("ollama", "gpt-4"), ("scripted", "echo")]
)
def test_models_of_free_providers_cost_nothing(provider, model):
    assert cost(provider, model, Usage(1_000_000, 1_000_000)) == Cost(Decimal(0), priced=True)


def test_lookup_finds_a_model_at_its_own_provider():
    sonnet = lookup("anthropic", SONNET)
    assert sonnet is not None
    assert (sonnet.context, sonnet.max_output, sonnet.sampling, sonnet.thinks) == (
        1_000_000,
        128_000,
        False,
        True,
    )
    assert sonnet.above is None
    haiku = lookup("anthropic", HAIKU)
    assert haiku is not None
    assert haiku.above is not None
    assert haiku.above.prompt_tokens == 100_000


def test_all_prices_of_the_table_are_positive_with_at_most_four_decimals():
    assert len(MODELS) == 74
    for provider, name in MODELS:
        info = lookup(provider, name)
        assert info is not None
        assert info.context > 0
        assert info.max_output > 0
        for prices in filter(None, (info, info.above)):
            for price in (prices.input, prices.output, prices.cache_read, prices.cache_write):
                assert price is None or (price > 0 and price == price.quantize(Decimal("1e-4")))


@pytest.mark.parametrize(
    ("usage", "same_as"),
    [
        (Usage(-5, -5, -5, -5), Usage(0, 0)),
        (Usage(100, 10, cache_read=500), Usage(100, 10, cache_read=100)),
        (Usage(100, 10, cache_write=500), Usage(100, 10, cache_write=100)),
        (Usage(100, 10, cache_read=60, cache_write=60), Usage(100, 10, cache_read=60, cache_write=40)),
        (Usage(100, 10, cache_read=-60), Usage(100, 10)),
        (Usage(10**40, 10**40), Usage(2**31 - 1, 2**31 - 1)),
    ],
)
def test_impossible_counts_are_clamped(usage, same_as):
    assert cost("anthropic", SONNET, usage) == cost("anthropic", SONNET, same_as)


@pytest.mark.parametrize(
    "ending", ["-20250101", "-2025-01-01", "-latest", "@20250101", "@eu", ":free", ":x=1,y"]
)
@pytest.mark.parametrize("model", ["o1", "gpt-4.1-nano", "gpt-4o-2024-05-13"])
def test_a_date_or_a_variant_does_not_change_the_price(model, ending):
    assert lookup("openai", model + ending) == lookup("openai", model) is not None
    assert costs.is_priced(f"openai/{model}{ending}")
    assert not costs.is_listed("openai", model + ending)


def test_a_date_and_a_variant_may_both_follow_a_name():
    assert lookup("openai", "o1-2025-01-01:free") == lookup("openai", "o1")


@pytest.mark.parametrize(
    "model",
    [
        *(
            "o1-pro",
            "o1-preview",
            "o",
            "o1-",
            "o1-2025",
            "o1-202501011",
            "o1-2025-1-1",
            "o1x",
            "o1-latest-pro",
        ),
        *("gpt-4-turbo", "gpt-4-32k", "xo1", "gpt-4-0613", "", ":o1", "@", "-latest", "o1-" + "\u0662" * 8),
    ],
)
def test_any_other_ending_is_another_model_without_a_price(model):
    assert lookup("openai", model) is None
    assert not costs.is_priced(f"openai/{model}")


@given(st.sampled_from(sorted(name for _, name in MODELS)), st.text("-@:olatest0123456789pro", max_size=14))
def test_only_known_endings_keep_a_price(name, ending):
    if name + ending not in TABLE and lookup(TABLE[name]["provider"], name + ending) is not None:
        assert any(
            re.fullmatch(
                r"(-\d{8}|-\d{4}-\d{2}-\d{2}|-latest)?([@:].*)?", (name + ending).removeprefix(known)
            )
            for known in TABLE
            if (name + ending).startswith(known)
        )


names = models.map("/".join)


@given(st.lists(names, min_size=1, max_size=4), usages)
def test_no_request_costs_more_than_the_upper_prices(names, usage):
    upper = costs.upper_prices(tuple(names))
    is_long = upper.long_from is not None and usage.input > upper.long_from
    prompt = upper.long_prompt if is_long else upper.prompt
    answer = upper.long_answer if is_long else upper.answer
    for name in names:
        assert usd_of(tuple(name.split("/", 1)), usage) <= usage.input * prompt + usage.output * answer


@given(st.lists(st.text(max_size=50), max_size=5))
def test_a_prompt_has_more_bytes_than_estimated_tokens(texts):
    assert costs.max_prompt_tokens(*texts) >= estimate_tokens(*texts)
    assert costs.max_prompt_tokens(*texts) == sum(len(text.encode()) + 16 for text in texts)


def test_the_largest_answer_is_that_of_the_table():
    assert costs.max_output("openai/gpt-4", 9) == 4096
    assert costs.max_output("ollama/qwen3", 9) == 9


@given(models, st.builds(Usage, *[st.integers()] * 5))
def test_every_usage_has_a_cost_that_fits_its_column(model, usage):
    usd = usd_of(model, usage)
    assert 0 <= usd < 10**8  # the limit of the column
    assert usd == usd.quantize(Decimal("1e-10"))


@given(models, usages, st.integers(0, 1_000_000))
def test_more_tokens_never_cost_less(model, usage, more):
    usd = usd_of(model, usage)
    assert usd_of(model, msgspec.structs.replace(usage, input=usage.input + more)) >= usd
    assert usd_of(model, msgspec.structs.replace(usage, output=usage.output + more)) >= usd


short = st.integers(0, 20_000)
halves = st.builds(lambda a, b, c, d: Usage(a + b + c, d, b, c), *[short] * 4).filter(
    lambda u: u.input <= 50_000
)


@given(models, halves, halves)
def test_two_short_requests_cost_as_much_as_one_with_their_sum(model, a, b):
    both = Usage(
        a.input + b.input, a.output + b.output, a.cache_read + b.cache_read, a.cache_write + b.cache_write
    )
    assert usd_of(model, a) + usd_of(model, b) == usd_of(model, both)


@given(models, usages)
def test_a_prompt_read_from_the_cache_never_costs_more(model, usage):
    uncached = Usage(usage.input, usage.output)
    cached = Usage(usage.input, usage.output, cache_read=usage.input)
    assert usd_of(model, cached) <= usd_of(model, uncached)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 4, 2), ("漢字", 2), ("😀", 1), ("\ud800", 1)],
)
def test_estimate_tokens_counts_four_bytes_as_one_token(text, tokens):
    assert estimate_tokens(text) == tokens
