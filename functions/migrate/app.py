"""Applies the migrations of the bundle as the database's owner, and gives chat_app its login.

Called by CodeDeploy before traffic moves to a new version, which moves only if this went well, and by
`make deploy`. Migrations only add, so that the version in service keeps working after them.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any

from migrations import deployment
from migrations.deployment import Done
from shared.db_credentials import DatabaseCredentials
from shared.environment import Environment
from shared.errors import Unavailable
from shared.logs import logger
from shared.settings import database_credentials, database_schemas

_SECONDS_FOR_A_SECRET = 20


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Returns the names of the files applied now. Raises MigrationError."""
    try:
        done = asyncio.run(_bring_up_to_date(Environment(os.environ)))
    except Exception:
        logger.exception("migration failed")
        _tell_codedeploy(event, "Failed")
        raise
    logger.info("migrated", applied=done.applied, ahead=done.ahead)
    _tell_codedeploy(event, "Succeeded")
    return {"applied": done.applied, "ahead": done.ahead}


async def _bring_up_to_date(env: Environment) -> Done:
    owner = database_credentials(env, "MIGRATION_DATABASE")
    by_token = env.boolean("DATABASE_IAM_AUTH", "Whether chat_app logs in with IAM tokens.", default=False)
    login = None if by_token else await _parameters(database_credentials(env, "DATABASE"))
    return deployment.bring_up_to_date(await _parameters(owner), login, schemas=database_schemas(env))


async def _parameters(login: DatabaseCredentials) -> dict[str, Any]:
    """A deployment waits longer for a secret than a user would."""
    for _ in range(_SECONDS_FOR_A_SECRET):
        with contextlib.suppress(Unavailable):
            return login.connect_args(await login.password())
        await asyncio.sleep(1)
    return login.connect_args(await login.password())


def _tell_codedeploy(event: Mapping[str, Any], status: str) -> None:
    """A hook's result is reported, not returned; unreported, the deployment waits an hour for it."""
    hook = event.get("LifecycleEventHookExecutionId")
    if hook is None:
        return
    import boto3  # noqa: PLC0415 (the managed runtime's; not wanted elsewhere)

    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"], lifecycleEventHookExecutionId=hook, status=status
    )
