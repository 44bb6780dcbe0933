"""What AWS keeps or vouches for: secrets of Secrets Manager, and tokens for a database's IAM login.

boto3 is imported where the first of them is wanted, in a thread: it takes a quarter of a second, and
who has neither never pays for it.
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

# As CloudFormation writes it, and with a field behind it as ECS does.
_ARN = re.compile(
    r"(arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+)(?::([^:]+)(?:::)?)?",
    re.ASCII,
)
# Somebody is waiting: a call that has not been answered by then is not going to help them.
_CONNECT_SECONDS = _READ_SECONDS = 1
# RDS takes no longer lifetime; it looks at the token only while a connection is made.
_TOKEN_LIFETIME = 900


class SecretsManager:
    """The secrets of a process, each ARN read once for all who want a field of it."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._stored: dict[str, SecretsManagerSecret] = {}
        self._providers: dict[str, SecretsProvider] = {}
        self._making = threading.Lock()

    def secret(self, text: str) -> Secret:
        """The secret of an ARN, or its field of `ARN:field`. Raises ValueError; reads nothing yet."""
        match = _ARN.fullmatch(text)
        if match is None:
            raise ValueError("not an ARN of Secrets Manager")
        arn, region, field = match.groups()
        if arn not in self._stored:
            self._stored[arn] = SecretsManagerSecret(
                arn, lambda stage: self._read(arn, region, stage), now=self._now
            )
        return JsonFieldSecret(self._stored[arn], field) if field else self._stored[arn]

    def _read(self, arn: str, region: str, stage: Stage) -> str | None:
        provider = self._provider(region)
        try:
            # Powertools would keep what it read by name alone, whatever the stage, and forget it in an
            # outage: it reads, `Stored` keeps.
            value = provider.get(arn, force_fetch=True, max_age=0, VersionStage=stage)
        except Exception as error:
            if stage != "AWSCURRENT" and _is_missing(error.__context__):
                return None
            raise
        text = value.decode() if isinstance(value, bytes) else str(value)
        return text.strip()  # a line's end comes along with what is pasted

    def _provider(self, region: str) -> "SecretsProvider":
        with self._making:  # sessions of boto3 are not for several threads, its clients are
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
    """A password for RDS by IAM, good for 15 minutes: what boto3's `generate_db_auth_token` makes.

    Signed here with the same signer, as a client for RDS costs 0.15 s to make and is not needed.
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
