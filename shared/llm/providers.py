"""Which providers there are: one line each, and where each is reached."""

from urllib.parse import urlsplit

from msgspec import Struct

from shared.errors import UpstreamRejected
from shared.llm.anthropic_format import Anthropic
from shared.llm.ollama_format import Ollama
from shared.llm.openai_format import OpenAI
from shared.llm.scripted import SCRIPTED_URL
from shared.llm.wire_format import Endpoint, Provider
from shared.secret_sources import Secret
from shared.settings import Settings

_OPENAI = OpenAI(max_tokens_field="max_completion_tokens")
_COMPATIBLE = OpenAI(max_tokens_field="max_tokens")
_COMPATIBLE_WITHOUT_OPTIONS = OpenAI(max_tokens_field="max_tokens", stream_options=False)
_PROVIDERS: dict[str, Provider] = {
    "anthropic": Anthropic(),
    "openai": _OPENAI,
    "nvidia": _COMPATIBLE,
    "ollama": Ollama(),
    "scripted": _COMPATIBLE,
}
# What OpenAI calls its own models; they refuse `max_tokens`, wherever they are served.
_OPENAI_MODELS = ("gpt-", "chatgpt-", "chat-latest", "o1", "o3", "o4")


class ModelTarget(Struct, frozen=True, kw_only=True):
    """One model at one provider. `name` is the setting's `provider/model`.

    The endpoint's key is `secret`'s, to be asked for at each request.
    """

    name: str
    provider_name: str
    model: str
    provider: Provider
    endpoint: Endpoint
    secret: Secret | None = None


def find(name: str, settings: Settings) -> ModelTarget:
    """The target of a `provider/model`. Raises UpstreamRejected for a provider that is not configured."""
    provider_name, _, model = name.partition("/")
    secret = None
    if provider_name == "scripted":
        endpoint = Endpoint(base_url=SCRIPTED_URL)
    elif provider_name in settings.providers:
        configured = settings.providers[provider_name]
        endpoint, secret = Endpoint(base_url=configured.base_url), configured.api_key
    else:
        raise UpstreamRejected("the model's provider is not configured")
    return ModelTarget(
        name=name,
        provider_name=provider_name,
        model=model,
        provider=variant_of(provider_name, model, settings, endpoint),
        endpoint=endpoint,
        secret=secret,
    )


def variant_of(provider_name: str, model: str, settings: Settings, endpoint: Endpoint) -> Provider:
    provider = _PROVIDERS[provider_name]
    if not isinstance(provider, OpenAI) or provider_name == "scripted":
        return provider
    at_openai = urlsplit(endpoint.base_url).hostname == "api.openai.com"
    if provider_name == "openai" and (at_openai or model.startswith(_OPENAI_MODELS)):
        return _OPENAI
    return _COMPATIBLE if settings.providers[provider_name].stream_options else _COMPATIBLE_WITHOUT_OPTIONS
