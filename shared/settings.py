"""The settings of a process, read once from its environment and checked.

Loading them opens no connection and reads no secret. It reads one file, SYSTEM_PROMPT_FILE. Code that needs
a secret reads it each time it needs it.
"""

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from shared import aws
from shared.database_schemas import NAME_PATTERN, DatabaseSchemas
from shared.db_credentials import DatabaseCredentials
from shared.environment import ConfigError, Environment, RateLimit
from shared.llm.providers import PROVIDERS, ProviderSettings
from shared.secret_sources import GeneratedToken, Secret, StaticSecret

__all__ = [
    "LONGEST_MODEL",
    "ConfigError",
    "RateLimit",
    "Settings",
    "database_credentials",
    "database_schemas",
    "load_settings",
]


class Settings(Struct, frozen=True, kw_only=True):
    """All settings. Times are in seconds. `providers` are the configured ones by name."""

    database: DatabaseCredentials
    database_schemas: DatabaseSchemas
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

    async def server_secret(self) -> str:
        """A value that clients do not know and that all processes of a deployment share. A secret value that
        all processes of a deployment share. It is the key of the hashes of client addresses. Raises
        Unavailable."""
        if self.jwt_secret is not None:
            return await self.jwt_secret.value()
        return await self.database.server_secret()


# The longest `provider/model` in characters: the limit of its database column.
LONGEST_MODEL = 200
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def load_settings(environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> Settings:
    """The settings of this process. Raises ConfigError with one sentence about the first fault.

    `now` is the wall clock that the age of secrets is measured by.
    """
    env = Environment(environ, now=now)
    providers = _configured_providers(env)
    model = env.text("LLM_MODEL") or _default_model(providers)
    fallback_models = env.words("LLM_FALLBACK_MODELS")
    _check_model("LLM_MODEL", model, providers)
    for name in fallback_models:
        _check_model("LLM_FALLBACK_MODELS", name, providers)
    secret, jwks_url = env.secret("JWT_SECRET", "JWT_SECRET_ARN"), env.url("JWT_JWKS_URL")
    if jwks_url and not jwks_url.startswith("https:") and urlsplit(jwks_url).hostname not in _LOOPBACK:
        raise ConfigError(
            "JWT_JWKS_URL must be an https URL, because its answer decides which tokens are valid."
        )
    if not secret and not jwks_url:
        raise ConfigError("JWT_SECRET or JWT_JWKS_URL must be set, so that tokens can be verified.")
    return Settings(
        database=database_credentials(env, "DATABASE", now=now),
        database_schemas=database_schemas(env),
        jwt_secret=secret,
        jwt_jwks_url=jwks_url,
        jwt_issuer=env.text("JWT_ISSUER"),
        jwt_audience=env.text("JWT_AUDIENCE"),
        allow_anonymous=env.boolean("ALLOW_ANONYMOUS", default=False),
        cors_allow_origins=env.origins("CORS_ALLOW_ORIGINS"),
        proxies=env.integer("PROXIES", 0, at_least=0, at_most=10),
        model=model,
        fallback_models=fallback_models,
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
        metrics_namespace=env.text_matching(
            "POWERTOOLS_METRICS_NAMESPACE", r"[\w./#:-]{1,255}", "a name of letters, digits and . - _ / # :"
        ),
        xray_daemon=(
            env.text_matching(
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
    """The credentials that the settings with this `prefix` describe: DATABASE or MIGRATION_DATABASE.
    Raises ConfigError."""
    secret = env.secret_by_arn(f"{prefix}_SECRET_ARN")
    uses_token = env.boolean(f"{prefix}_IAM_AUTH", default=False)
    if secret is None:
        url = env.required(f"{prefix}_URL", "the connection to Postgres")
    else:
        url = env.text(f"{prefix}_URL") or "postgresql://"
    ca_file = env.text("DATABASE_CA_FILE")
    tls = {"sslmode": "verify-full", "sslrootcert": ca_file} if ca_file else {}
    if secret is None and not uses_token:
        if "sslmode=" in url:
            return DatabaseCredentials.from_url(url)
        return DatabaseCredentials(parameters={**tls, "conninfo": url})
    if secret is not None and uses_token:
        raise ConfigError(f"{prefix}_SECRET_ARN and {prefix}_IAM_AUTH must not both be set.")
    parameters = _parse_url(url)
    if parameters is None or "password" in parameters:
        raise ConfigError(f"{prefix}_URL must be postgresql://user@host:port/database, without a password.")
    parameters = parameters if "sslmode" in parameters else {**tls, **parameters}
    if secret is not None:
        return DatabaseCredentials(parameters=parameters, secret=secret)
    region = env.required("AWS_REGION", f"{prefix}_IAM_AUTH signs for a region")
    if not {"host", "user"} <= parameters.keys():
        raise ConfigError(f"{prefix}_URL must name a user and a host for {prefix}_IAM_AUTH.")
    port = int(parameters.get("port", "5432"))
    token = partial(aws.database_token, parameters["host"], port, parameters["user"], region)
    return DatabaseCredentials(parameters=parameters, secret=GeneratedToken(token, now=now), is_password=True)


def database_schemas(env: Environment) -> DatabaseSchemas:
    """The schemas of DATABASE_SCHEMA and DATABASE_FUNCTION_SCHEMA. Raises ConfigError."""
    meaning = "a name of lower-case letters, digits and _, 63 characters at most"
    schemas = DatabaseSchemas(
        tables=env.text_matching("DATABASE_SCHEMA", NAME_PATTERN, meaning) or "public",
        functions=env.text_matching("DATABASE_FUNCTION_SCHEMA", NAME_PATTERN, meaning) or "app",
    )
    if schemas.tables == schemas.functions:
        raise ConfigError("DATABASE_SCHEMA and DATABASE_FUNCTION_SCHEMA must be different names.")
    return schemas


def _parse_url(url: str) -> dict[str, str] | None:
    """The parameters of libpq in a URL of Postgres; None for another kind of URL."""
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


def _configured_providers(env: Environment) -> dict[str, ProviderSettings]:
    """The providers that have a key or a base URL: servers of one's own often need no key. Providers
    without settings are always there."""
    configured = {}
    for provider in PROVIDERS.values():
        prefix = provider.settings_prefix
        if prefix is None:
            configured[provider.name] = ProviderSettings(base_url=provider.base_url)
            continue
        key = env.secret(f"{prefix}_API_KEY", f"{prefix}_API_KEY_SECRET_ARN")
        if isinstance(key, StaticSecret) and not (key.text.isascii() and key.text.isprintable()):
            raise ConfigError(f"{prefix}_API_KEY must be printable ASCII, as it goes into a header.")
        url = env.url(f"{prefix}_BASE_URL")
        if key or url:
            configured[provider.name] = ProviderSettings(
                base_url=(url or provider.base_url).rstrip("/"),
                api_key=key,
                stream_options=env.boolean(f"{prefix}_STREAM_OPTIONS", default=True),
            )
    return configured


def _default_model(configured: Mapping[str, ProviderSettings]) -> str:
    defaults = (PROVIDERS[name].default_model for name in configured)
    return next(model for model in defaults if model is not None)


def _check_model(setting: str, name: str, configured: Mapping[str, ProviderSettings]) -> None:
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
