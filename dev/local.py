"""The environment of a local checkout: defaults for the settings that are not set.

Owns `.local`, which has the database and the token secret of a checkout.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import psycopg

from dev import postgres
from migrations import migrate
from migrations.files import MigrationError
from shared.database_settings import database_schemas
from shared.environment import ConfigError, Environment

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".local"
# The user of a local token that names no user.
LOCAL_USER = UUID("00000000-0000-4000-8000-000000000001")
_TOKEN_SECONDS = 24 * 3600


def jwt_secret() -> str:
    """The secret that signs local tokens. It is made once, kept, and readable by its owner alone."""
    path = FOLDER / "jwt_secret"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        # The file has its name only when it is complete: another command may read it at the same time.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=FOLDER) as new:
            new.write(secrets.token_urlsafe(48))
            new.flush()
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(new.name)
    return path.read_text("utf-8")


def token(user_id: UUID, environ: Mapping[str, str] = os.environ) -> str:
    from shared import auth  # noqa: PLC0415 (importing the settings' users before the settings are set)

    return auth.sign(
        user_id,
        secret=environ.get("JWT_SECRET") or jwt_secret(),
        now=time.time(),
        lifetime=_TOKEN_SECONDS,
        issuer=environ.get("JWT_ISSUER") or None,
        audience=environ.get("JWT_AUDIENCE") or None,
    )


def environment(url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The settings for local functions served at `url`: `environ`, and defaults for the rest.

    Starts the embedded Postgres if no database is named, and migrates the database if the owner's
    connection is known. Raises ConfigError, also for a database that cannot be migrated.
    """
    env = {
        "ALLOW_ANONYMOUS": "true",
        "CORS_ALLOW_ORIGINS": url,
        **({} if _verifies_tokens(environ) else {"JWT_SECRET": jwt_secret()}),
        **{name: value for name, value in environ.items() if value},
    }
    if "OPENAPI_FILE" not in env:
        env["OPENAPI_FILE"] = str(_write_openapi())
    if "DATABASE_URL" not in env and "DATABASE_SECRET_ARN" not in env:
        server = postgres.start(FOLDER / "postgres")
        env["DATABASE_URL"] = server.url(postgres.APP)
        if "MIGRATION_DATABASE_URL" not in env:
            env["MIGRATION_DATABASE_URL"] = server.url(postgres.OWNER)
            _migrate(env, " To remove the local database and make a new one: make reset.")
            return env
    if "MIGRATION_DATABASE_URL" in env:
        _migrate(env)
    return env


def _migrate(env: Mapping[str, str], advice: str = "") -> None:
    """`advice` is added to the sentence of a ConfigError."""
    schemas = database_schemas(Environment(env))
    try:
        migrate.apply(env["MIGRATION_DATABASE_URL"], schemas=schemas, replaces_any_function=True)
    except MigrationError as error:
        says_so = "make reset" in str(error)
        raise ConfigError(f"{error}.{'' if says_so else advice}") from error
    except psycopg.Error as error:
        # The text of Postgres has more lines: where in the statement, and hints.
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"The database cannot be migrated: {reason}.{advice}") from error


def _write_openapi() -> Path:
    from dev import openapi  # noqa: PLC0415 (it imports the functions)

    path = FOLDER / "openapi.json"
    openapi.write(path)
    return path


def reset() -> None:
    """Stops the embedded Postgres and removes its data and the local files. The token secret stays.

    Raises ServerInUse while another process uses the database.
    """
    postgres.remove(FOLDER / "postgres")
    shutil.rmtree(FOLDER / "files", ignore_errors=True)


def _verifies_tokens(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in ("JWT_SECRET_ARN", "JWT_JWKS_URL"))
