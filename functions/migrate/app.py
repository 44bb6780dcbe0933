"""Applies the migrations of the bundle as the database's owner, and sets the login of chat_app.

CodeDeploy calls it before traffic moves to a new version, and moves no traffic if it fails. `make deploy`
calls it too. Migrations only add, so that the version in service keeps working.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any

from migrations import deployment
from migrations.deployment import MigrationReport
from shared.database_settings import database_credentials, database_schemas
from shared.db_credentials import DatabaseCredentials
from shared.environment import Environment
from shared.errors import Unavailable
from shared.logs import logger

_SECRET_RETRIES = 20  # one a second


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Returns {"applied": names of the applied files, "ahead": the database has a later version}.

    Raises MigrationError.
    """
    try:
        report = asyncio.run(_bring_up_to_date(Environment(os.environ)))
    except Exception:
        logger.exception("migration failed")
        _report_to_codedeploy(event, "Failed")
        raise
    logger.info("migrated", applied=report.applied, ahead=report.ahead)
    _report_to_codedeploy(event, "Succeeded")
    return {"applied": report.applied, "ahead": report.ahead}


async def _bring_up_to_date(env: Environment) -> MigrationReport:
    owner = database_credentials(env, "MIGRATION_DATABASE")
    uses_iam = env.boolean("DATABASE_IAM_AUTH", "Whether chat_app logs in with IAM tokens.", default=False)
    login = None if uses_iam else await _connect_args(database_credentials(env, "DATABASE"))
    return deployment.bring_up_to_date(await _connect_args(owner), login, schemas=database_schemas(env))


async def _connect_args(credentials: DatabaseCredentials) -> dict[str, Any]:
    """Tries again while the secret cannot be read: a deployment can wait longer than a user."""
    for _ in range(_SECRET_RETRIES):
        with contextlib.suppress(Unavailable):
            return credentials.connect_args(await credentials.password())
        await asyncio.sleep(1)
    return credentials.connect_args(await credentials.password())


def _report_to_codedeploy(event: Mapping[str, Any], status: str) -> None:
    """Reports the result of a hook. Without a report the deployment waits an hour."""
    hook = event.get("LifecycleEventHookExecutionId")
    if hook is None:
        return
    import boto3  # noqa: PLC0415 (the Lambda runtime has it; other environments need not install it)

    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"], lifecycleEventHookExecutionId=hook, status=status
    )
