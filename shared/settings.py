"""The settings of a process, read once from its environment and checked.

Loading them opens no connection and reads no secret. It reads one file, SYSTEM_PROMPT_FILE. Code that needs
a secret reads it each time it needs it.
"""

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from msgspec import Struct

from shared import costs
from shared.database_schemas import DatabaseSchemas
from shared.database_settings import database_credentials, database_schemas
from shared.db_credentials import DatabaseCredentials
from shared.environment import ConfigError, Environment, RateLimit
from shared.llm.provider_settings import check_model, configured_providers, default_model
from shared.llm.providers import ProviderSettings
from shared.llm.proxies import Proxies
from shared.secret_sources import Secret

__all__ = ["ConfigError", "RateLimit", "Settings", "load_settings", "read_settings"]


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
    provider_proxies: Proxies
    start_timeout: float
    first_token_timeout: float
    idle_timeout: float
    rate_limit_chat: RateLimit
    rate_limit_write: RateLimit
    budget_usd_per_day: Decimal
    budget_usd_per_day_anonymous: Decimal
    budget_usd_per_day_total: Decimal
    allow_unknown_prices: bool
    stream_heartbeat: float
    stream_padding: int
    history_messages: int
    history_tokens: int | None
    system_prompt: str | None
    database_connections: int
    log_level: str
    log_service: str
    metrics_namespace: str | None
    xray_daemon: str | None
    openapi_file: str | None

    @property
    def has_budget(self) -> bool:
        """Whether there is a budget, for each user or for several users together."""
        return any(
            (self.budget_usd_per_day, self.budget_usd_per_day_anonymous, self.budget_usd_per_day_total)
        )

    async def server_secret(self) -> str:
        """The key of the hashes of client addresses. Clients do not know it, and all processes of a
        deployment have the same. Raises Unavailable."""
        if self.jwt_secret is not None:
            return await self.jwt_secret.value()
        return await self.database.server_secret()


_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def load_settings(environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> Settings:
    """The settings of this process. Raises ConfigError with one sentence about the first fault.

    `now` is the wall clock that the age of secrets is measured by.
    """
    return read_settings(Environment(environ, now=now), now=now)


def read_settings(env: Environment, *, now: Callable[[], float] = time.time) -> Settings:
    """As `load_settings`. Reads every setting, even one that another makes unused, for docs/settings.md."""
    database = database_credentials(env, "DATABASE", now=now)
    schemas = database_schemas(env)
    jwt_secret = env.secret(
        "JWT_SECRET", "Verifies HS256 tokens; 32 bytes or more. Also signs anonymous tokens."
    )
    jwks_url = _jwks_url(env)
    if not jwt_secret and not jwks_url:
        raise ConfigError("JWT_SECRET or JWT_JWKS_URL must be set, so that tokens can be verified.")
    providers = configured_providers(env)
    model, fallback_models = _model(env, providers), _fallback_models(env, providers)
    budgets = _budgets(env)
    return Settings(
        database=database,
        database_schemas=schemas,
        database_connections=env.integer(
            "DATABASE_CONNECTIONS",
            "The most database connections of one process.",
            default=10,
            at_least=1,
            at_most=1_000,
        ),
        jwt_secret=jwt_secret,
        jwt_jwks_url=jwks_url,
        jwt_issuer=env.text("JWT_ISSUER", "The `iss` that a token must have."),
        jwt_audience=env.text("JWT_AUDIENCE", "The `aud` that a token must have."),
        allow_anonymous=env.boolean(
            "ALLOW_ANONYMOUS", "Whether users can chat without signing in.", default=False
        ),
        cors_allow_origins=env.origins(
            "CORS_ALLOW_ORIGINS",
            "Origins of web pages that may call the API, such as `https://chat.example.com`, with commas; "
            "`*` for all.",
        ),
        proxies=env.integer(
            "PROXIES",
            "The number of your own proxies, such as CloudFront, in front of the API. A client's address is "
            "this many places before the end of `X-Forwarded-For`.",
            default=0,
            at_least=0,
            at_most=10,
        ),
        stream_heartbeat=env.seconds(
            "STREAM_HEARTBEAT",
            "Seconds without an event after which a stream sends a comment, so that proxies keep it open.",
            default=15,
        ),
        stream_padding=env.integer(
            "STREAM_PADDING",
            "Bytes of comment at the start of a stream, for proxies that hold back the first bytes.",
            default=0,
            at_least=0,
            at_most=65_536,
        ),
        openapi_file=env.text(
            "OPENAPI_FILE", "File that `GET /openapi.json` serves. A deployed function has it in its bundle."
        ),
        model=model,
        fallback_models=fallback_models,
        allowed_models=env.words(
            "LLM_ALLOWED_MODELS",
            "Models that a client may name beside the configured ones, with commas. `*` is a wildcard.",
        ),
        providers=providers,
        ca_file=env.text(
            "SSL_CERT_FILE",
            "File of certificate authorities for the connections to providers, instead of those of certifi.",
        ),
        provider_proxies=Proxies(
            https=env.proxy(
                "HTTPS_PROXY",
                "URL of the proxy for https requests to providers. The three names also work in lower case.",
            ),
            http=env.proxy("HTTP_PROXY", "URL of the proxy for http requests to providers."),
            exceptions=env.proxy_exceptions(
                "NO_PROXY",
                "Hosts that are reached without a proxy, with commas: a host, which includes its subdomains, "
                "a host with a port, an address, a network such as `10.0.0.0/8`, or `*`.",
            ),
        ),
        start_timeout=env.seconds(
            "LLM_START_TIMEOUT",
            "Seconds until a provider must have accepted the request, fallbacks included. A model that loads "
            "slowly, as Ollama's do at first use, needs more.",
            default=2.8,
        ),
        first_token_timeout=env.seconds(
            "LLM_FIRST_TOKEN_TIMEOUT",
            "Seconds from the request to the provider to the first text of the answer.",
            default=20,
        ),
        idle_timeout=env.seconds(
            "LLM_IDLE_TIMEOUT", "Seconds without new text after which an answer counts as broken.", default=30
        ),
        rate_limit_chat=env.rate(
            "RATE_LIMIT_CHAT", "Turns of one user: requests/seconds.", default=RateLimit(5, 60)
        ),
        rate_limit_write=env.rate(
            "RATE_LIMIT_WRITE", "Other writes of one user: requests/seconds.", default=RateLimit(10, 60)
        ),
        budget_usd_per_day=budgets[0],
        budget_usd_per_day_anonymous=budgets[1],
        budget_usd_per_day_total=budgets[2],
        allow_unknown_prices=_allow_unknown_prices(
            env, {"LLM_MODEL": (model,), "LLM_FALLBACK_MODELS": fallback_models}, budgets
        ),
        history_messages=env.integer(
            "HISTORY_MESSAGES",
            "The newest messages of a conversation that a model gets: this number, and up to half as many "
            "more, so that the beginning stays the same for several turns and the provider can cache it.",
            default=20,
            at_least=1,
            at_most=1_000,
        ),
        history_tokens=env.optional_integer(
            "HISTORY_TOKENS",
            "The most tokens of a conversation that a model gets, estimated by four bytes each. If it is not "
            "set: what fits into the model's context beside the answer.",
            at_least=100,
            at_most=10_000_000,
        ),
        system_prompt=env.file(
            "SYSTEM_PROMPT_FILE",
            "File with the system prompt.",
            default="functions/chat_stream/prompt/system_prompt.md",
        ),
        log_level=env.choice(
            "LOG_LEVEL",
            "Level of the JSON log. Above `INFO` a turn writes no log line and no metrics.",
            choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
            default="INFO",
        ),
        metrics_namespace=env.text_matching(
            "POWERTOOLS_METRICS_NAMESPACE",
            "CloudWatch namespace of the metrics. Without it, the log lines are not read as metrics.",
            pattern=r"[\w./#:-]{1,255}",
            form="a name of letters, digits and . - _ / # :",
        ),
        log_service=env.text(
            "POWERTOOLS_SERVICE_NAME",
            "The field `service` of log lines and metrics.",
            default="serverless-chat",
        ),
        xray_daemon=_xray_daemon(env),
    )


def _jwks_url(env: Environment) -> str | None:
    url = env.url(
        "JWT_JWKS_URL", "https URL of the public keys (JWKS) that verify RS256, ES256 and EdDSA tokens."
    )
    if url and not url.startswith("https:") and urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(
            "JWT_JWKS_URL must be an https URL, because its answer decides which tokens are valid."
        )
    return url


def _model(env: Environment, providers: Mapping[str, ProviderSettings]) -> str:
    meaning = (
        "The model, as `provider/model`. If it is not set: the default model of the first provider that has "
        "a key or a base URL, else `scripted/echo`."
    )
    model = env.text("LLM_MODEL", meaning) or default_model(providers)
    check_model("LLM_MODEL", model, providers)
    return model


def _fallback_models(env: Environment, providers: Mapping[str, ProviderSettings]) -> tuple[str, ...]:
    names = env.words(
        "LLM_FALLBACK_MODELS",
        "Models that are tried in this order if the model fails before its first text, with commas.",
    )
    for name in names:
        check_model("LLM_FALLBACK_MODELS", name, providers)
    return names


def _budgets(env: Environment) -> tuple[Decimal, Decimal, Decimal]:
    """The budgets of each user, of all anonymous users together, and of all users together."""
    return (
        env.money("BUDGET_USD_PER_DAY", "USD that one user may spend in a day (UTC); 0 for no limit."),
        env.money(
            "BUDGET_USD_PER_DAY_ANONYMOUS",
            "USD that all users without an account together may spend in a day (UTC); 0 for no limit.",
        ),
        env.money(
            "BUDGET_USD_PER_DAY_TOTAL",
            "USD that all users together may spend in a day (UTC); 0 for no limit.",
        ),
    )


def _allow_unknown_prices(
    env: Environment, models: Mapping[str, tuple[str, ...]], budgets: tuple[Decimal, ...]
) -> bool:
    """LLM_UNKNOWN_PRICES. `models`: the configured models by the setting that names them."""
    value = env.text_matching(
        "LLM_UNKNOWN_PRICES",
        "`allow` or `refuse` models that are not in the price table (`shared/models.json`). An allowed one "
        "costs an assumed price and is marked `priced: false`. The default is `allow`, and `refuse` where a "
        "budget is set.",
        pattern="allow|refuse",
        form="allow or refuse",
    )
    if value == "allow" or (value is None and not any(budgets)):
        return True
    for setting, names in models.items():
        if not all(costs.is_priced(name) for name in names):
            raise ConfigError(
                f"{setting} names a model without a known price: set LLM_UNKNOWN_PRICES=allow, or name "
                "another model."
            )
    return False


def _xray_daemon(env: Environment) -> str | None:
    """The address of the X-Ray daemon; None if tracing is off."""
    is_on = env.boolean("TRACING", "Whether sampled turns are sent to AWS X-Ray.", default=False)
    address = env.text_matching(
        "AWS_XRAY_DAEMON_ADDRESS",
        "Address of the X-Ray daemon. Set by Lambda.",
        pattern=r"[\w.-]+:[0-9]{1,5}",
        form="an address such as 127.0.0.1:2000",
        default="127.0.0.1:2000",
    )
    return address if is_on else None
