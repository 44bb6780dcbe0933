"""The registry of model providers: one row each, and the target of a `provider/model`.

Everything else that needs a list of providers reads `PROVIDERS`. This module imports no wire format, so
that reading the settings stays cheap.
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from shared.errors import UpstreamRejected
from shared.llm.think_tags import ThinkTags
from shared.secret_sources import Secret

WireFormatName = Literal["anthropic", "ollama", "openai"]
MaxTokensField = Literal["max_completion_tokens", "max_tokens"]


class Provider(Struct, frozen=True, kw_only=True):
    """One provider.

    `name` is the part before the slash in `provider/model`. `base_url` has no slash at its end.
    `settings_prefix` begins the names of its settings: `<prefix>_API_KEY`, `<prefix>_API_KEY_SECRET_ARN`,
    `<prefix>_BASE_URL`, `<prefix>_STREAM_OPTIONS` and `<prefix>_THINK_TAGS`. A provider without a prefix has
    no settings and is always configured. `default_model` (`provider/model`) is used when LLM_MODEL is not set
    and the provider is configured. `needs_key` is False for servers that are reached without a key. `is_free`
    means that no request costs money.

    `max_tokens_field` is the name of the output limit in the OpenAI format. `own_models`: prefixes of model
    names. If it is set, `max_tokens_field` is used only for these models and for the vendor's own host. All
    other models use `max_tokens`. `max_temperature` is the highest temperature that the API accepts.
    `retries_429_without_retry_after`: False if a 429 without `retry-after` is permanent. `think_tags` is the
    default of the setting `<prefix>_THINK_TAGS`. `no_system_role`: prefixes of the models whose chat template
    has no system role. Others are found by the provider's refusal.
    """

    name: str
    wire_format: WireFormatName
    base_url: str
    settings_prefix: str | None = None
    default_model: str | None = None
    needs_key: bool = True
    is_free: bool = False
    max_tokens_field: MaxTokensField = "max_tokens"
    own_models: tuple[str, ...] = ()
    max_temperature: float = 2.0
    retries_429_without_retry_after: bool = True
    think_tags: ThinkTags = "true"
    no_system_role: tuple[str, ...] = ()


# The order matters: LLM_MODEL defaults to the model of the first configured provider that has one.
_ROWS = (
    Provider(
        name="anthropic",
        wire_format="anthropic",
        base_url="https://api.anthropic.com",
        settings_prefix="ANTHROPIC",
        default_model="anthropic/claude-sonnet-5-5",
        max_temperature=1.0,
        # Anthropic sends 429 without `retry-after` when the account's spending limit is reached.
        retries_429_without_retry_after=False,
    ),
    Provider(
        name="openai",
        wire_format="openai",
        base_url="https://api.openai.com/v1",
        settings_prefix="OPENAI",
        default_model="openai/gpt-6.1-terra",
        # OpenAI's own models refuse `max_tokens`, wherever they are served. Most other servers know only
        # `max_tokens`.
        max_tokens_field="max_completion_tokens",
        own_models=("gpt-", "chatgpt-", "chat-latest", "o1", "o3", "o4"),
    ),
    Provider(
        name="nvidia",
        wire_format="openai",
        base_url="https://integrate.api.nvidia.com/v1",
        settings_prefix="NVIDIA",
        default_model="nvidia/meta/llama-3.3-70b-instruct",
        no_system_role=("google/gemma-2", "google/gemma-7b", "google/codegemma"),
    ),
    # No default model: the models depend on the server.
    Provider(
        name="ollama",
        wire_format="ollama",
        base_url="http://127.0.0.1:11434",
        settings_prefix="OLLAMA",
        needs_key=False,
        is_free=True,
    ),
    # Answered in this process (shared.llm.scripted). The .invalid top-level domain is reserved (RFC 2606),
    # so the URL reaches no server.
    Provider(
        name="scripted",
        wire_format="openai",
        base_url="http://scripted.invalid/v1",
        default_model="scripted/echo",
        needs_key=False,
        is_free=True,
    ),
)
PROVIDERS: Mapping[str, Provider] = {row.name: row for row in _ROWS}


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """The settings of one configured provider. `base_url` has no slash at its end.

    `stream_options` is False for OpenAI-compatible servers that refuse the field `stream_options`.
    `think_tags` says how thinking inside the text is marked. `num_ctx` is the context that is asked of
    Ollama, in tokens; None: as much as the request needs.
    """

    base_url: str
    api_key: Secret | None = None
    stream_options: bool = True
    think_tags: ThinkTags = "true"
    num_ctx: int | None = None


class Variant(Struct, frozen=True, kw_only=True):
    """The differences between servers of the OpenAI format. `stream_options`: send this field, which asks for
    the usage."""

    max_tokens_field: MaxTokensField = "max_tokens"
    stream_options: bool = True


class ModelTarget(Struct, frozen=True, kw_only=True):
    """One model at one configured provider. `name` is `provider/model`; `model` is the vendor's name.

    The value of `secret` is the API key. It is read for each request, because it may rotate.
    `has_system_role` and `num_ctx`: see Provider and ProviderSettings.
    """

    name: str
    provider: Provider
    model: str
    base_url: str
    variant: Variant
    think_tags: ThinkTags = "true"
    secret: Secret | None = None
    has_system_role: bool = True
    num_ctx: int | None = None


def find_target(name: str, configured: Mapping[str, ProviderSettings]) -> ModelTarget:
    """The target of a `provider/model`. Raises UpstreamRejected if the provider is not configured."""
    provider_name, _, model = name.partition("/")
    if provider_name not in configured:
        raise UpstreamRejected("the model's provider is not configured")
    provider, settings = PROVIDERS[provider_name], configured[provider_name]
    return ModelTarget(
        name=name,
        provider=provider,
        model=model,
        base_url=settings.base_url,
        variant=variant_of(provider, model, settings),
        think_tags=settings.think_tags,
        secret=settings.api_key,
        has_system_role=not model.startswith(provider.no_system_role),
        num_ctx=settings.num_ctx,
    )


def variant_of(provider: Provider, model: str, settings: ProviderSettings) -> Variant:
    """The variant of the OpenAI format for this model at this server."""
    if not provider.own_models:
        return Variant(max_tokens_field=provider.max_tokens_field, stream_options=settings.stream_options)
    at_vendor = urlsplit(settings.base_url).hostname == urlsplit(provider.base_url).hostname
    if at_vendor or model.startswith(provider.own_models):
        return Variant(max_tokens_field=provider.max_tokens_field)
    return Variant(stream_options=settings.stream_options)
