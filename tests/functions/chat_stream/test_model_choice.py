import pytest

from functions.chat_stream.model_choice import ModelChoice
from shared.errors import InvalidRequest
from shared.settings import load_settings


def choice(**environ):
    needed = {
        "DATABASE_URL": "unused",
        "JWT_SECRET": "unused",
        "OPENAI_API_KEY": "k",
        "ANTHROPIC_API_KEY": "k",
    }
    return ModelChoice(load_settings({**needed, "LLM_MODEL": "openai/gpt-6-luna", **environ}))


def test_a_request_without_a_model_gets_the_configured_models_in_order():
    chosen = choice(LLM_FALLBACK_MODELS="anthropic/claude-haiku-5-5,scripted/echo").resolve(None)
    assert chosen == ("openai/gpt-6-luna", "anthropic/claude-haiku-5-5", "scripted/echo")


def test_the_requested_model_is_first_and_the_configured_models_are_its_fallbacks():
    chosen = choice(LLM_FALLBACK_MODELS="scripted/echo").resolve("scripted/echo")
    assert chosen == ("scripted/echo", "openai/gpt-6-luna")


def test_a_model_name_without_a_provider_is_accepted():
    assert choice().resolve("gpt-6-luna") == ("openai/gpt-6-luna",)


@pytest.mark.parametrize("name", ["anthropic/claude-opus-5-5", "claude-opus-5-5"])
def test_a_pattern_allows_matching_models(name):
    chosen = choice(LLM_ALLOWED_MODELS="anthropic/claude-*").resolve(name)
    assert chosen == ("anthropic/claude-opus-5-5", "openai/gpt-6-luna")


@pytest.mark.parametrize("name", ["openai/gpt-5", "gpt", "", "mistral/large", "openai/gpt-6-luna "])
def test_a_model_that_is_not_allowed_is_refused_with_the_allowed_models(name):
    with pytest.raises(InvalidRequest, match=r"openai/gpt-6-luna, anthropic/claude-\*") as caught:
        choice(LLM_ALLOWED_MODELS="anthropic/claude-*").resolve(name)
    assert caught.value.field == "model"


def test_a_pattern_does_not_allow_a_provider_that_is_not_configured():
    with pytest.raises(InvalidRequest):
        choice(LLM_ALLOWED_MODELS="*").resolve("nvidia/meta/llama")


def test_patterns_are_not_listed():
    listed = choice(LLM_ALLOWED_MODELS="anthropic/claude-*,openai/gpt-6-sol").listed_models
    assert listed == ("openai/gpt-6-luna", "openai/gpt-6-sol")


def test_a_model_name_over_200_characters_is_refused():
    allowed = choice(LLM_ALLOWED_MODELS="openai/*")
    assert allowed.resolve("m" * 193)[0] == "openai/" + "m" * 193
    with pytest.raises(InvalidRequest):
        allowed.resolve("m" * 194)


def test_a_model_of_a_provider_that_is_not_configured_is_not_listed():
    assert "nvidia/meta/llama" not in choice(LLM_ALLOWED_MODELS="nvidia/meta/llama").listed_models


def test_a_model_without_a_price_is_refused_by_name_where_a_budget_is_set():
    with_budget = choice(LLM_ALLOWED_MODELS="openai/o1*", BUDGET_USD_PER_DAY="1")
    assert with_budget.resolve("openai/o1-2025-01-01")[0] == "openai/o1-2025-01-01"
    with pytest.raises(InvalidRequest, match="openai/o1-pro") as caught:
        with_budget.resolve("o1-pro")
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    ("environ", "is_allowed"),
    [
        ({}, True),
        ({"LLM_UNKNOWN_PRICES": "refuse"}, False),
        ({"BUDGET_USD_PER_DAY_TOTAL": "1"}, False),
        ({"BUDGET_USD_PER_DAY_ANONYMOUS": "1"}, False),
        ({"BUDGET_USD_PER_DAY": "1", "LLM_UNKNOWN_PRICES": "allow"}, True),
    ],
)
def test_models_without_a_price_are_allowed_by_the_setting(environ, is_allowed):
    models = choice(LLM_ALLOWED_MODELS="openai/o1-pro,scripted/x", **environ).listed_models
    assert ("openai/o1-pro" in models) == is_allowed
    assert "scripted/x" in models  # free
