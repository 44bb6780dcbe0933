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


def test_who_asks_for_none_gets_the_configured_ones_in_their_order():
    chosen = choice(LLM_FALLBACK_MODELS="anthropic/claude-haiku-5-5,scripted/echo").resolve(None)
    assert chosen == ("openai/gpt-6-luna", "anthropic/claude-haiku-5-5", "scripted/echo")


def test_a_model_asked_for_comes_first_and_the_configured_ones_are_its_fallbacks():
    chosen = choice(LLM_FALLBACK_MODELS="scripted/echo").resolve("scripted/echo")
    assert chosen == ("scripted/echo", "openai/gpt-6-luna")


def test_a_name_without_its_provider_is_enough():
    assert choice().resolve("gpt-6-luna") == ("openai/gpt-6-luna",)


@pytest.mark.parametrize("name", ["anthropic/claude-opus-5-5", "claude-opus-5-5"])
def test_a_pattern_allows_what_it_matches(name):
    chosen = choice(LLM_ALLOWED_MODELS="anthropic/claude-*").resolve(name)
    assert chosen == ("anthropic/claude-opus-5-5", "openai/gpt-6-luna")


@pytest.mark.parametrize("name", ["openai/gpt-5", "gpt", "", "mistral/large", "openai/gpt-6-luna "])
def test_what_is_not_allowed_is_refused_with_a_list_of_what_is(name):
    with pytest.raises(InvalidRequest, match=r"openai/gpt-6-luna, anthropic/claude-\*") as caught:
        choice(LLM_ALLOWED_MODELS="anthropic/claude-*").resolve(name)
    assert caught.value.field == "model"


def test_a_pattern_gives_no_way_to_a_provider_that_is_not_configured():
    with pytest.raises(InvalidRequest):
        choice(LLM_ALLOWED_MODELS="*").resolve("nvidia/meta/llama")


def test_the_names_are_those_that_can_be_told():
    named = choice(LLM_ALLOWED_MODELS="anthropic/claude-*,openai/gpt-6-sol").listed_models
    assert named == ("openai/gpt-6-luna", "openai/gpt-6-sol")


def test_a_name_that_is_too_long_with_its_provider_is_refused_whatever_a_pattern_allows():
    allowing = choice(LLM_ALLOWED_MODELS="openai/*")
    assert allowing.resolve("m" * 193)[0] == "openai/" + "m" * 193
    with pytest.raises(InvalidRequest):
        allowing.resolve("m" * 194)


def test_a_model_of_a_provider_that_is_not_configured_is_not_listed():
    assert "nvidia/meta/llama" not in choice(LLM_ALLOWED_MODELS="nvidia/meta/llama").listed_models
