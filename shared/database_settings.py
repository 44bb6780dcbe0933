"""The settings of the database: its credentials and its schemas. Migrations read them without the others."""

import time
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl, unquote, urlsplit

from shared import aws
from shared.database_schemas import NAME_PATTERN, DatabaseSchemas
from shared.db_credentials import DatabaseCredentials
from shared.environment import ConfigError, Environment
from shared.secret_sources import GeneratedToken


def database_credentials(
    env: Environment, prefix: str, *, now: Callable[[], float] = time.time
) -> DatabaseCredentials:
    """The credentials that the settings with this `prefix` describe: DATABASE or MIGRATION_DATABASE.
    Raises ConfigError."""
    role = "role `chat_app`" if prefix == "DATABASE" else "role that owns the tables"
    url_meaning = (
        f"Connection to Postgres 14 to 18 as the {role}, `postgresql://user:password@host:port/database`."
    )
    secret = env.secret_by_arn(
        f"{prefix}_SECRET_ARN",
        "ARN of a secret in Secrets Manager with the login as JSON, as RDS writes and rotates it. "
        f"`{prefix}_URL`, without a password, then supplies the fields that the secret lacks.",
    )
    uses_token = env.boolean(
        f"{prefix}_IAM_AUTH",
        f"Whether to log in with IAM tokens, as the user of `{prefix}_URL`.",
        default=False,
    )
    if secret is None:
        url = env.required(f"{prefix}_URL", url_meaning, reason="the connection to Postgres")
    else:
        url = env.text(f"{prefix}_URL", url_meaning) or "postgresql://"
    ca_file = env.text(
        "DATABASE_CA_FILE",
        "File of certificate authorities for the connection to the database. With a secret or IAM the "
        "certificate is always verified: for RDS with Amazon's authorities (`shared/rds_ca`), for other "
        "hosts with those of certifi.",
    )
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
    region = env.required("AWS_REGION", "Set by Lambda.", reason=f"{prefix}_IAM_AUTH signs for a region")
    if not {"host", "user"} <= parameters.keys():
        raise ConfigError(f"{prefix}_URL must name a user and a host for {prefix}_IAM_AUTH.")
    port = int(parameters.get("port", "5432"))
    token = partial(aws.database_token, parameters["host"], port, parameters["user"], region)
    return DatabaseCredentials(parameters=parameters, secret=GeneratedToken(token, now=now), is_password=True)


def database_schemas(env: Environment) -> DatabaseSchemas:
    """The schemas of DATABASE_SCHEMA and DATABASE_FUNCTION_SCHEMA. Raises ConfigError."""
    form = "a name of lower-case letters, digits and _, 63 characters at most"
    schemas = DatabaseSchemas(
        tables=env.text_matching(
            "DATABASE_SCHEMA",
            "Schema of the tables, fixed by the first migration.",
            pattern=NAME_PATTERN,
            form=form,
            default="public",
        ),
        functions=env.text_matching(
            "DATABASE_FUNCTION_SCHEMA",
            "Schema of the stored functions and the list of migrations, fixed by the first migration.",
            pattern=NAME_PATTERN,
            form=form,
            default="app",
        ),
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
