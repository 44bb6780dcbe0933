"""The settings, read once from the environment, and the sentence for each that is wrong.

Nothing is opened or fetched here. Secrets given as an ARN are resolved by whoever needs them.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct


class ConfigError(Exception):
    """A setting is missing or malformed; the sentence names it and never shows its value."""


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """How one provider is reached; one that is not configured has none.

    `stream_options` is off for OpenAI-compatible servers that cannot bear to be asked for usage.
    """

    base_url: str
    api_key: str | None = None
    stream_options: bool = True


class RateLimit(Struct, frozen=True):
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: int


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set. Times are in seconds."""

    database_url: str
    jwt_secret: str | None
    jwt_jwks_url: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    allow_anonymous: bool
    cors_allow_origins: tuple[str, ...]
    model: str
    fallback_models: tuple[str, ...]
    allowed_models: tuple[str, ...]
    providers: Mapping[str, ProviderSettings]
    ca_file: str | None
    start_timeout: float
    first_token_timeout: float
    idle_timeout: float
    rate_limit_chat: RateLimit
    rate_limit_write: RateLimit
    budget_usd_per_day: Decimal
    stream_heartbeat: float
    stream_padding: int
    history_messages: int
    system_prompt: str | None
    database_connections: int
    log_level: str


# Where each provider is, unless its setting says otherwise. A key or a base URL configures one:
# servers of one's own often want no key.
_BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "nvidia": "https://integrate.api.nvidia.com/v1",
    "ollama": "http://127.0.0.1:11434",
}
PROVIDERS = (*_BASE_URLS, "scripted")
# The model that a lone key brings with it. Ollama has none: it serves what its owner has pulled.
_DEFAULT_MODELS = {
    "anthropic": "anthropic/claude-sonnet-5-5",
    "openai": "openai/gpt-6.1-terra",
    "nvidia": "nvidia/meta/llama-3.3-70b-instruct",
}
_SCRIPTED = "scripted/echo"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of this process. Raises ConfigError with one sentence about the first fault."""
    env = _Environment(environ)
    providers = _providers(env)
    model = env.text("LLM_MODEL") or next(
        (_DEFAULT_MODELS[name] for name in _DEFAULT_MODELS if name in providers), _SCRIPTED
    )
    models = (model, *env.words("LLM_FALLBACK_MODELS"))
    for name in models:
        _check_model(name, providers)
    secret, jwks_url = env.text("JWT_SECRET"), env.url("JWT_JWKS_URL")
    if jwks_url and not jwks_url.startswith("https:") and urlsplit(jwks_url).hostname not in _LOOPBACK:
        raise ConfigError("JWT_JWKS_URL must be an https URL, as whoever answers it can sign tokens.")
    if not secret and not jwks_url:
        raise ConfigError("JWT_SECRET or JWT_JWKS_URL must be set, so that tokens can be verified.")
    return Settings(
        database_url=env.required("DATABASE_URL", "the connection to Postgres as chat_app"),
        jwt_secret=secret,
        jwt_jwks_url=jwks_url,
        jwt_issuer=env.text("JWT_ISSUER"),
        jwt_audience=env.text("JWT_AUDIENCE"),
        allow_anonymous=env.boolean("ALLOW_ANONYMOUS", default=False),
        cors_allow_origins=env.origins("CORS_ALLOW_ORIGINS"),
        model=model,
        fallback_models=models[1:],
        allowed_models=env.words("LLM_ALLOWED_MODELS"),
        providers=providers,
        ca_file=env.text("SSL_CERT_FILE"),
        start_timeout=env.seconds("LLM_START_TIMEOUT", 2.8),
        first_token_timeout=env.seconds("LLM_FIRST_TOKEN_TIMEOUT", 20),
        idle_timeout=env.seconds("LLM_IDLE_TIMEOUT", 30),
        rate_limit_chat=env.rate("RATE_LIMIT_CHAT", RateLimit(5, 60)),
        rate_limit_write=env.rate("RATE_LIMIT_WRITE", RateLimit(10, 60)),
        budget_usd_per_day=env.money("BUDGET_USD_PER_DAY"),
        stream_heartbeat=env.seconds("STREAM_HEARTBEAT", 15),
        stream_padding=env.integer("STREAM_PADDING", 0, at_least=0, at_most=65_536),
        history_messages=env.integer("HISTORY_MESSAGES", 20, at_least=1, at_most=1_000),
        system_prompt=env.file("SYSTEM_PROMPT_FILE"),
        database_connections=env.integer("DATABASE_CONNECTIONS", 10, at_least=1, at_most=1_000),
        log_level=env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO"),
    )


def _providers(env: "_Environment") -> dict[str, ProviderSettings]:
    found = {}
    for name, base_url in _BASE_URLS.items():
        prefix = name.upper()
        key = env.text(f"{prefix}_API_KEY")
        if key and not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{prefix}_API_KEY must be printable ASCII, as it goes into a header.")
        url = env.url(f"{prefix}_BASE_URL")
        if key or url:
            found[name] = ProviderSettings(
                base_url=(url or base_url).rstrip("/"),
                api_key=key,
                stream_options=env.boolean(f"{prefix}_STREAM_OPTIONS", default=True),
            )
    return found


def _check_model(name: str, providers: Mapping[str, ProviderSettings]) -> None:
    provider, _, model = name.partition("/")
    if not model:
        raise ConfigError("LLM_MODEL and LLM_FALLBACK_MODELS name models as provider/model.")
    if provider == "scripted" or provider in providers:
        return
    if provider not in PROVIDERS:
        raise ConfigError(f"LLM_MODEL names a provider that is none of {', '.join(PROVIDERS)}.")
    missing = "BASE_URL" if provider == "ollama" else "API_KEY"
    raise ConfigError(f"{provider.upper()}_{missing} must be set, because LLM_MODEL asks for {provider}.")


class _Environment:
    """Typed reading of an environment; an empty value counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def required(self, name: str, meaning: str) -> str:
        value = self.text(name)
        if value is None:
            raise ConfigError(f"{name} must be set: {meaning}.")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in (self.text(name) or "").split(",") if word.strip())

    def url(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not re.fullmatch(r"https?://[^\s/]+.*", value):
            raise ConfigError(f"{name} must be an http or https URL.")
        return value

    def origins(self, name: str) -> tuple[str, ...]:
        origins = self.words(name)
        for origin in origins:
            # As browsers send it: lower case, no user, no path, not even a slash.
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]-]+", origin):
                raise ConfigError(
                    f"{name} must list origins such as https://chat.example.com, without a path."
                )
        return origins

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in {"true", "false", "1", "0"}:
            raise ConfigError(f"{name} must be true or false.")
        return value.lower() in {"true", "1"}

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = (self.text(name) or default).upper()
        if value not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}.")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) <= 0:
            raise ConfigError(f"{name} must be a number of seconds greater than 0.")
        return float(value)

    def integer(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not at_least <= int(value) <= at_most:
            raise ConfigError(f"{name} must be a whole number from {at_least} to {at_most}.")
        return int(value)

    def money(self, name: str) -> Decimal:
        value = self.text(name) or "0"
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,10})?", value):
            raise ConfigError(f"{name} must be an amount in USD, or 0 for none.")
        return Decimal(value)

    def rate(self, name: str, default: RateLimit) -> RateLimit:
        value = self.text(name)
        if value is None:
            return default
        match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", value)
        if not match:
            raise ConfigError(f"{name} must be requests/seconds, for instance 5/60.")
        return RateLimit(int(match[1]), int(match[2]))

    def file(self, name: str) -> str | None:
        path = self.text(name)
        if path is None:
            return None
        try:
            return Path(path).read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{name} must name a readable UTF-8 text file.") from None
