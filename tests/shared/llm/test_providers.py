"""The registry of providers: each row works in settings, prices and the local functions."""

import pytest

from dev.functions import settings_of
from shared.costs import cost
from shared.errors import UpstreamRejected
from shared.events import Usage
from shared.llm.providers import PROVIDERS, ProviderSettings, Variant, find_target
from shared.secret_sources import StaticSecret
from shared.settings import ConfigError, load_settings

NEEDED = {"DATABASE_URL": "postgresql://chat_app@db/chat", "JWT_SECRET": "a secret"}
WITH_SETTINGS = [row for row in PROVIDERS.values() if row.settings_prefix]
all_with_settings = pytest.mark.parametrize("row", WITH_SETTINGS, ids=[row.name for row in WITH_SETTINGS])


def settings_for(row):
    settings = {
        f"{row.settings_prefix}_API_KEY": "key",
        f"{row.settings_prefix}_BASE_URL": "http://127.0.0.1:1/v1",
    }
    if row.wire_format == "openai":
        settings[f"{row.settings_prefix}_STREAM_OPTIONS"] = "false"
    return settings


@all_with_settings
def test_a_provider_is_configured_by_its_key_or_its_base_url(row):
    environ = {"LLM_MODEL": f"{row.name}/m", **settings_for(row)}
    assert load_settings(NEEDED | environ).providers[row.name] == ProviderSettings(
        base_url="http://127.0.0.1:1/v1",
        api_key=StaticSecret("key"),
        # Only the format of OpenAI has `stream_options`.
        stream_options=row.wire_format != "openai",
    )
    key = {f"{row.settings_prefix}_API_KEY": "key"}
    assert load_settings(NEEDED | key).providers[row.name].base_url == row.base_url
    url = {f"{row.settings_prefix}_BASE_URL": "http://127.0.0.1:1"}
    assert load_settings(NEEDED | url).providers[row.name].api_key is None


@all_with_settings
def test_the_key_of_a_provider_may_be_in_secrets_manager(row):
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key-abcdef"
    settings = load_settings(NEEDED | {f"{row.settings_prefix}_API_KEY_SECRET_ARN": arn})
    assert settings.providers[row.name].api_key is not None


@all_with_settings
def test_a_model_of_a_provider_without_settings_is_a_configuration_error(row):
    missing = "API_KEY" if row.needs_key else "BASE_URL"
    with pytest.raises(ConfigError, match=f"{row.settings_prefix}_{missing} must be set"):
        load_settings(NEEDED | {"LLM_MODEL": f"{row.name}/m"})


@all_with_settings
def test_the_local_functions_get_the_settings_of_a_provider(row):
    settings = settings_for(row)
    assert settings_of({**settings, "HOME": "/root"}) == settings


def test_rows_are_consistent():
    for name, row in PROVIDERS.items():
        assert row.name == name
        assert not row.base_url.endswith("/")
        if row.default_model is not None:
            assert row.default_model.startswith(f"{name}/")
    assert len({row.settings_prefix for row in PROVIDERS.values()}) == len(PROVIDERS)
    assert list(PROVIDERS)[-1] == "scripted"  # last, so that a configured provider sets the default model


@pytest.mark.parametrize(
    ("name", "base_url", "stream_options", "variant"),
    [
        ("openai/anything", "https://api.openai.com/v1", False, ("max_completion_tokens", True)),
        ("openai/gpt-6-sol", "http://127.0.0.1:1/v1", False, ("max_completion_tokens", True)),
        ("openai/o3", "http://127.0.0.1:1/v1", True, ("max_completion_tokens", True)),
        ("openai/qwen", "http://127.0.0.1:1/v1", True, ("max_tokens", True)),
        ("openai/qwen", "http://127.0.0.1:1/v1", False, ("max_tokens", False)),
        ("nvidia/gpt-oss", "https://integrate.api.nvidia.com/v1", True, ("max_tokens", True)),
        ("nvidia/gpt-oss", "https://integrate.api.nvidia.com/v1", False, ("max_tokens", False)),
        ("scripted/echo", "http://scripted.invalid/v1", True, ("max_tokens", True)),
    ],
)
def test_the_variant_of_the_openai_format(name, base_url, stream_options, variant):
    configured = ProviderSettings(base_url=base_url, stream_options=stream_options)
    target = find_target(name, {name.partition("/")[0]: configured})
    assert target.variant == Variant(max_tokens_field=variant[0], stream_options=variant[1])


def test_a_model_name_may_have_slashes():
    target = find_target("nvidia/meta/llama", {"nvidia": ProviderSettings(base_url="http://127.0.0.1:1")})
    assert (target.name, target.provider.name, target.model) == ("nvidia/meta/llama", "nvidia", "meta/llama")


def test_a_provider_that_is_not_configured_is_refused():
    with pytest.raises(UpstreamRejected):
        find_target("openai/gpt-6-sol", {})


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
def test_free_providers_cost_nothing(row):
    assert (cost(row.name, "unknown-model", Usage(1000, 1000)).usd == 0) is row.is_free
