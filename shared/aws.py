"""Reads secrets of AWS Secrets Manager, and generates IAM tokens for a database login.

boto3 and botocore are imported in a thread, when a secret or a token is first needed. The import takes
0.25 s.
"""

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from shared.secret_sources import JsonFieldSecret, Secret, SecretsManagerSecret, Stage

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

# An ARN as CloudFormation writes it, or with a field at its end as in ECS.
_ARN = re.compile(
    r"(arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+)(?::([^:]+)(?:::)?)?",
    re.ASCII,
)
# Short, because a request waits for the read.
_CONNECT_SECONDS = _READ_SECONDS = 1
# The longest lifetime that RDS accepts. The token is checked only while a connection is made.
_TOKEN_LIFETIME = 900


class SecretsManager:
    """The secrets of a process. Secrets with the same ARN share one cache, also for different fields."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._secrets: dict[str, SecretsManagerSecret] = {}
        self._providers: dict[str, SecretsProvider] = {}
        self._lock = threading.Lock()

    def secret(self, text: str) -> Secret:
        """The secret with this ARN, or one field of it for `ARN:field`. Reads nothing. Raises ValueError."""
        match = _ARN.fullmatch(text)
        if match is None:
            raise ValueError("not an ARN of Secrets Manager")
        arn, region, field = match.groups()
        if arn not in self._secrets:
            self._secrets[arn] = SecretsManagerSecret(
                arn, lambda stage: self._read(arn, region, stage), now=self._now
            )
        return JsonFieldSecret(self._secrets[arn], field) if field else self._secrets[arn]

    def _read(self, arn: str, region: str, stage: Stage) -> str | None:
        provider = self._provider(region)
        try:
            # Powertools' cache ignores stages and loses values in an outage, so it is switched off.
            # SecretsManagerSecret is the cache.
            value = provider.get(arn, force_fetch=True, max_age=0, VersionStage=stage)
        except Exception as error:
            if stage != "AWSCURRENT" and _is_missing(error.__context__):
                return None
            raise
        text = value.decode() if isinstance(value, bytes) else str(value)
        return text.strip()  # Pasted values often have a line end.

    def _provider(self, region: str) -> "SecretsProvider":
        with self._lock:  # Clients of boto3 are thread-safe, sessions are not.
            if region not in self._providers:
                import boto3  # noqa: PLC0415
                from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415
                from botocore.config import Config  # noqa: PLC0415

                self._providers[region] = SecretsProvider(
                    boto3_session=boto3.session.Session(region_name=region),
                    boto_config=Config(
                        connect_timeout=_CONNECT_SECONDS,
                        read_timeout=_READ_SECONDS,
                        retries={"mode": "standard", "total_max_attempts": 2},
                    ),
                )
            return self._providers[region]


def database_token(host: str, port: int, user: str, region: str) -> str:
    """A password for RDS by IAM, valid for 15 minutes, as boto3's `generate_db_auth_token` makes it.

    This uses the same signer without a client for RDS, which takes 0.15 s to create.
    """
    from botocore.model import ServiceId  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415
    from botocore.signers import RequestSigner  # noqa: PLC0415

    session = get_session()
    signer = RequestSigner(
        ServiceId("rds"),
        region,
        "rds-db",
        "v4",
        session.get_credentials(),
        session.get_component("event_emitter"),
    )
    query = urlencode({"Action": "connect", "DBUser": user})
    request = {
        "method": "GET",
        "url": f"https://{host}:{port}/?{query}",
        "body": {},
        "headers": {},
        "context": {},
    }
    url: str = signer.generate_presigned_url(
        request, operation_name="", expires_in=_TOKEN_LIFETIME, region_name=region
    )
    return url.removeprefix("https://")


def _is_missing(error: BaseException | None) -> bool:
    response: dict[str, dict[str, str]] = getattr(error, "response", None) or {}
    return response.get("Error", {}).get("Code") == "ResourceNotFoundException"
