"""The settings, read once from the environment, and the sentence for each that is wrong.

Nothing is opened or fetched here. A secret is read by whoever needs it, each time it is needed.
"""

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from shared import aws
from shared.db_credentials import DatabaseCredentials
from shared.environment import ConfigError, Environment, RateLimit
from shared.secret_sources import GeneratedToken, Secret, StaticSecret

__all__ = [
    "LONGEST_MODEL",
    "PROVIDERS",
    "ConfigError",
    "ProviderSettings",
    "RateLimit",
    "Settings",
    "database_credentials",
    "load_settings",
]


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """How one provider is reached; one that is not configured has none.

    `stream_options` is off for OpenAI-compatible servers that cannot bear to be asked for usage.
    """

    base_url: str
    api_key: Secret | None = None
    stream_options: bool = True


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set. Times are in seconds."""

    database: DatabaseCredentials
    jwt_secret: Secret | None
    jwt_jwks_url: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    allow_anonymous: bool
    cors_allow_origins: tuple[str, ...]
    proxies: int
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
    metrics_namespace: str | None
    xray_daemon: str | None
    openapi_file: str | None

    async def own_secret(self) -> str:
        """Something that lasts and others do not know. Raises Unavailable."""
        if self.jwt_secret is not None:
            return await self.jwt_secret.value()
        return await self.database.own_secret()


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
# Of `provider/model`, in characters: what the database keeps.
LONGEST_MODEL = 200
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def load_settings(environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> Settings:
    """The settings of this process. Raises ConfigError with one sentence about the first fault.

    `now` is the clock by which secrets grow old.
    """
    env = Environment(environ, now=now)
    providers = _providers(env)
    model = env.text("LLM_MODEL") or next(
        (_DEFAULT_MODELS[name] for name in _DEFAULT_MODELS if name in providers), _SCRIPTED
    )
    models = (model, *env.words("LLM_FALLBACK_MODELS"))
    for name in models:
        _check_model(name, providers)
    secret, jwks_url = env.secret("JWT_SECRET", "JWT_SECRET_ARN"), env.url("JWT_JWKS_URL")
    if jwks_url and not jwks_url.startswith("https:") and urlsplit(jwks_url).hostname not in _LOOPBACK:
        raise ConfigError("JWT_JWKS_URL must be an https URL, as whoever answers it can sign tokens.")
    if not secret and not jwks_url:
        raise ConfigError("JWT_SECRET or JWT_JWKS_URL must be set, so that tokens can be verified.")
    return Settings(
        database=database_credentials(env, "DATABASE", now=now),
        jwt_secret=secret,
        jwt_jwks_url=jwks_url,
        jwt_issuer=env.text("JWT_ISSUER"),
        jwt_audience=env.text("JWT_AUDIENCE"),
        allow_anonymous=env.boolean("ALLOW_ANONYMOUS", default=False),
        cors_allow_origins=env.origins("CORS_ALLOW_ORIGINS"),
        proxies=env.integer("PROXIES", 0, at_least=0, at_most=10),
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
        metrics_namespace=env.matching(
            "POWERTOOLS_METRICS_NAMESPACE", r"[\w./#:-]{1,255}", "a name of letters, digits and . - _ / # :"
        ),
        xray_daemon=(
            env.matching(
                "AWS_XRAY_DAEMON_ADDRESS", r"[\w.-]+:[0-9]{1,5}", "an address such as 127.0.0.1:2000"
            )
            or "127.0.0.1:2000"
        )
        if env.boolean("TRACING", default=False)
        else None,
        openapi_file=env.text("OPENAPI_FILE"),
    )


def database_credentials(
    env: Environment, prefix: str, *, now: Callable[[], float] = time.time
) -> DatabaseCredentials:
    """The login that `prefix` names: DATABASE or MIGRATION_DATABASE. Raises ConfigError."""
    stored = env.stored(f"{prefix}_SECRET_ARN")
    by_token = env.boolean(f"{prefix}_IAM_AUTH", default=False)
    if stored is None:
        url = env.required(f"{prefix}_URL", "the connection to Postgres")
    else:
        url = env.text(f"{prefix}_URL") or "postgresql://"
    authorities = env.text("DATABASE_CA_FILE")
    verified = {"sslmode": "verify-full", "sslrootcert": authorities} if authorities else {}
    if stored is None and not by_token:
        return (
            DatabaseCredentials.at(url)
            if "sslmode=" in url
            else DatabaseCredentials(parameters={**verified, "conninfo": url})
        )
    if stored is not None and by_token:
        raise ConfigError(f"{prefix}_SECRET_ARN and {prefix}_IAM_AUTH must not both be set.")
    parameters = _parameters(url)
    if parameters is None or "password" in parameters:
        raise ConfigError(f"{prefix}_URL must be postgresql://user@host:port/database, without a password.")
    parameters = parameters if "sslmode" in parameters else {**verified, **parameters}
    if stored is not None:
        return DatabaseCredentials(parameters=parameters, secret=stored)
    region = env.required("AWS_REGION", f"{prefix}_IAM_AUTH signs for a region")
    if not {"host", "user"} <= parameters.keys():
        raise ConfigError(f"{prefix}_URL must name a user and a host for {prefix}_IAM_AUTH.")
    port = int(parameters.get("port", "5432"))
    token = partial(aws.database_token, parameters["host"], port, parameters["user"], region)
    return DatabaseCredentials(parameters=parameters, secret=GeneratedToken(token, now=now), is_password=True)


def _parameters(url: str) -> dict[str, str] | None:
    """libpq's parameters in a URL; None for what is none."""
    try:
        parts = urlsplit(url)
        named = {
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "host": parts.hostname or "",
            "port": str(parts.port or ""),
            "dbname": unquote(parts.path.removeprefix("/")),
            **dict(parse_qsl(parts.query)),
        }
    except ValueError:
        return None
    if parts.scheme not in {"postgresql", "postgres"}:
        return None
    return {name: value for name, value in named.items() if value}


def _providers(env: Environment) -> dict[str, ProviderSettings]:
    found = {}
    for name, base_url in _BASE_URLS.items():
        prefix = name.upper()
        key = env.secret(f"{prefix}_API_KEY", f"{prefix}_API_KEY_SECRET_ARN")
        if isinstance(key, StaticSecret) and not (key.text.isascii() and key.text.isprintable()):
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
    if len(name) > LONGEST_MODEL:
        raise ConfigError(f"LLM_MODEL and LLM_FALLBACK_MODELS name models in {LONGEST_MODEL} characters.")
    if provider == "scripted" or provider in providers:
        return
    if provider not in PROVIDERS:
        raise ConfigError(f"LLM_MODEL names a provider that is none of {', '.join(PROVIDERS)}.")
    missing = "BASE_URL" if provider == "ollama" else "API_KEY"
    raise ConfigError(f"{provider.upper()}_{missing} must be set, because LLM_MODEL asks for {provider}.")
