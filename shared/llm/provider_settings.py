"""The settings of the providers, and the checks of the models that other settings name."""

from collections.abc import Mapping
from typing import get_args

from shared.environment import ConfigError, Environment
from shared.llm.providers import PROVIDERS, ProviderSettings
from shared.llm.think_tags import ThinkTags
from shared.secret_sources import StaticSecret

# The longest `provider/model` in characters: the limit of its database column.
LONGEST_MODEL = 200


def configured_providers(env: Environment) -> dict[str, ProviderSettings]:
    """The providers that have a key or a base URL, by name. A self-hosted server often needs no key.
    Providers without settings are always configured. Raises ConfigError."""
    configured = {}
    for provider in PROVIDERS.values():
        prefix = provider.settings_prefix
        if prefix is None:
            configured[provider.name] = ProviderSettings(base_url=provider.base_url)
            continue
        default = f" Default model: `{provider.default_model}`." if provider.default_model else ""
        key = env.secret(f"{prefix}_API_KEY", f"API key of the provider.{default}")
        if isinstance(key, StaticSecret) and not (key.text.isascii() and key.text.isprintable()):
            raise ConfigError(f"{prefix}_API_KEY must be printable ASCII, as it goes into a header.")
        url = env.url(
            f"{prefix}_BASE_URL",
            "URL of the API, for a proxy or a compatible server.",
            default=provider.base_url,
        )
        stream_options = provider.wire_format != "openai" or env.boolean(
            f"{prefix}_STREAM_OPTIONS",
            "Whether to ask for the usage. `false` for compatible servers that refuse `stream_options`.",
            default=True,
        )
        num_ctx = None
        if provider.wire_format == "ollama":
            num_ctx = env.optional_integer(
                f"{prefix}_NUM_CTX",
                "Context window asked of Ollama, in tokens. If it is not set: as much as the prompt and the "
                "answer need, in powers of two.",
                at_least=512,
                at_most=100_000_000,
            )
        think_tags = env.choice(
            f"{prefix}_THINK_TAGS",
            "Whether `<think>` at the beginning of an answer opens the model's thinking, which is no text. "
            "`closing` for servers whose answers always begin with thinking and have only `</think>`.",
            choices=get_args(ThinkTags),
            default=provider.think_tags,
        )
        if key or url:
            configured[provider.name] = ProviderSettings(
                base_url=(url or provider.base_url).rstrip("/"),
                api_key=key,
                stream_options=stream_options,
                num_ctx=num_ctx,
                think_tags=think_tags,
            )
    return configured


def default_model(configured: Mapping[str, ProviderSettings]) -> str:
    """The model that is used when LLM_MODEL is not set."""
    defaults = (PROVIDERS[name].default_model for name in configured)
    return next(model for model in defaults if model is not None)


def check_model(setting: str, name: str, configured: Mapping[str, ProviderSettings]) -> None:
    """Raises ConfigError if `setting` names a model that no configured provider has."""
    provider_name, _, model = name.partition("/")
    if not model:
        raise ConfigError(f"{setting} must name a model as provider/model.")
    if len(name) > LONGEST_MODEL:
        raise ConfigError(f"{setting} must name a model in at most {LONGEST_MODEL} characters.")
    if provider_name in configured:
        return
    if provider_name not in PROVIDERS:
        raise ConfigError(f"{setting} has an unknown provider. The providers are {', '.join(PROVIDERS)}.")
    provider = PROVIDERS[provider_name]
    missing = "API_KEY" if provider.needs_key else "BASE_URL"
    raise ConfigError(
        f"{provider.settings_prefix}_{missing} must be set, because {setting} uses {provider_name}."
    )
