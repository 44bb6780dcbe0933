import pytest

from shared.llm.providers import ProviderSettings
from shared.secret_sources import StaticSecret
from shared.settings import ConfigError, RateLimit, load_settings

NEEDED = {"DATABASE_URL": "postgresql://chat_app@db/chat", "JWT_SECRET": "a secret"}
SCRIPTED = {"scripted": ProviderSettings(base_url="http://scripted.invalid/v1")}


def test_the_required_settings_are_enough_and_the_others_have_defaults():
    settings = load_settings(NEEDED)
    assert settings.model == "scripted/echo"
    assert settings.fallback_models == ()
    assert settings.providers == SCRIPTED
    assert not settings.allow_anonymous
    assert settings.cors_allow_origins == ()
    assert (settings.start_timeout, settings.first_token_timeout, settings.idle_timeout) == (2.8, 20, 30)
    assert (settings.rate_limit_chat, settings.rate_limit_write) == (RateLimit(5, 60), RateLimit(10, 60))
    assert (settings.stream_heartbeat, settings.stream_padding) == (15, 0)
    assert settings.history_messages == 20
    assert settings.budget_usd_per_day == 0


def test_a_key_alone_selects_the_default_model_of_its_provider():
    settings = load_settings(NEEDED | {"ANTHROPIC_API_KEY": "key"})
    assert settings.model == "anthropic/claude-sonnet-5-5"
    assert settings.providers == {
        "anthropic": ProviderSettings(base_url="https://api.anthropic.com", api_key=StaticSecret("key")),
        **SCRIPTED,
    }


@pytest.mark.parametrize("name", ["LLM_MODEL", "LLM_FALLBACK_MODELS"])
def test_a_model_name_may_have_200_characters(name):
    longest = "scripted/" + "m" * 191
    load_settings(NEEDED | {name: longest})
    with pytest.raises(ConfigError, match="200 characters"):
        load_settings(NEEDED | {name: longest + "m"})


def test_a_base_url_configures_a_provider_without_a_key():
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:1234/v1/", "LLM_MODEL": "openai/qwen"}
    settings = load_settings(NEEDED | environ)
    assert settings.providers["openai"] == ProviderSettings(base_url="http://127.0.0.1:1234/v1", api_key=None)


def test_fallbacks_are_listed_in_order():
    environ = {
        "LLM_MODEL": "scripted/echo",
        "LLM_FALLBACK_MODELS": "openai/gpt-6-luna, scripted/echo",
        "OPENAI_API_KEY": "k",
    }
    assert load_settings(NEEDED | environ).fallback_models == ("openai/gpt-6-luna", "scripted/echo")


def test_an_empty_value_counts_as_not_set():
    assert load_settings(NEEDED | {"LLM_MODEL": "", "ANTHROPIC_API_KEY": " "}).model == "scripted/echo"


def test_the_system_prompt_can_be_replaced(tmp_path):
    (tmp_path / "prompt.md").write_text("Be brief.\n")
    settings = load_settings(NEEDED | {"SYSTEM_PROMPT_FILE": str(tmp_path / "prompt.md")})
    assert settings.system_prompt == "Be brief."


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named(name):
    with pytest.raises(ConfigError, match=f"{name} .*must be set"):
        load_settings({other: value for other, value in NEEDED.items() if other != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_JWKS_URL", "auth.example.com/jwks"),
        ("JWT_JWKS_URL", "http://auth.example.com/jwks"),
        ("ALLOW_ANONYMOUS", "perhaps"),
        ("CORS_ALLOW_ORIGINS", "app.example.com"),
        ("CORS_ALLOW_ORIGINS", "https://chat.example.com/"),
        ("CORS_ALLOW_ORIGINS", "https://*.example.com"),
        ("CORS_ALLOW_ORIGINS", "https://Chat.example.com"),
        ("CORS_ALLOW_ORIGINS", "https://me@chat.example.com"),
        ("LLM_MODEL", "claude-sonnet-5-5"),
        ("LLM_MODEL", "mistral/large"),
        ("LLM_FALLBACK_MODELS", "scripted/echo,gpt"),
        ("ANTHROPIC_API_KEY", None),
        ("OLLAMA_BASE_URL", None),
        ("OPENAI_BASE_URL", "api.openai.com"),
        ("LLM_START_TIMEOUT", "0"),
        ("LLM_START_TIMEOUT", "-1"),
        ("LLM_IDLE_TIMEOUT", "nan"),
        ("LLM_FIRST_TOKEN_TIMEOUT", "soon"),
        ("RATE_LIMIT_CHAT", "5"),
        ("RATE_LIMIT_WRITE", "0/60"),
        ("BUDGET_USD_PER_DAY", "-1"),
        ("BUDGET_USD_PER_DAY", "1e3"),
        ("BUDGET_USD_PER_DAY_ANONYMOUS", "-1"),
        ("BUDGET_USD_PER_DAY_TOTAL", "1e3"),
        ("LLM_UNKNOWN_PRICES", "ALLOW"),
        ("LLM_UNKNOWN_PRICES", "maybe"),
        ("HISTORY_TOKENS", "99"),
        ("STREAM_PADDING", "-1"),
        ("STREAM_PADDING", "99999999"),
        ("HISTORY_MESSAGES", "0"),
        ("HISTORY_MESSAGES", "٣"),
        ("SYSTEM_PROMPT_FILE", "/nowhere/prompt.md"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_the_error_for_a_malformed_setting_has_its_name_and_not_its_value(name, value):
    environ = {name: value} if value is not None else {"LLM_MODEL": name.split("_")[0].lower() + "/m"}
    with pytest.raises(ConfigError, match=name) as caught:
        load_settings(NEEDED | environ)
    if value and len(value) > 4:
        assert value not in str(caught.value)


def test_tracing_is_off_by_default():
    daemon = {"AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000"}
    assert load_settings(NEEDED | daemon).xray_daemon is None
    assert load_settings(NEEDED | {"TRACING": "true"}).xray_daemon == "127.0.0.1:2000"
    assert load_settings(NEEDED | daemon | {"TRACING": "true"}).xray_daemon == "169.254.79.129:2000"


@pytest.mark.parametrize("model", ["gpt", "nobody/gpt", "openai/gpt", "openai/" + "x" * 200])
def test_an_error_of_a_fallback_model_names_its_setting(model):
    with pytest.raises(ConfigError, match="LLM_FALLBACK_MODELS"):
        load_settings(NEEDED | {"LLM_FALLBACK_MODELS": model})


@pytest.mark.parametrize(
    "budget", ["BUDGET_USD_PER_DAY", "BUDGET_USD_PER_DAY_ANONYMOUS", "BUDGET_USD_PER_DAY_TOTAL"]
)
@pytest.mark.parametrize("setting", ["LLM_MODEL", "LLM_FALLBACK_MODELS"])
def test_a_configured_model_without_a_price_is_an_error_where_a_budget_is_set(budget, setting):
    environ = NEEDED | {"OPENAI_API_KEY": "k", "LLM_MODEL": "openai/o1", setting: "openai/o1-pro"}
    assert load_settings(environ).allow_unknown_prices
    with pytest.raises(ConfigError, match=f"{setting} .*LLM_UNKNOWN_PRICES=allow"):
        load_settings(environ | {budget: "1"})
    with pytest.raises(ConfigError, match=setting):
        load_settings(environ | {"LLM_UNKNOWN_PRICES": "refuse"})
    assert load_settings(environ | {budget: "1", "LLM_UNKNOWN_PRICES": "allow"}).has_budget
    assert not load_settings(environ | {budget: "1", setting: "openai/o1:free"}).allow_unknown_prices
