"""A deployment as samconfig.toml names it: its stack, what AWS says of it, and a token for it."""

import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config

ROOT = Path(__file__).parent.parent
_CONFIG = ROOT / "samconfig.toml"
_TOKEN_SECONDS = 900


class DeploymentError(Exception):
    """The sentence says what is wrong, to whoever deploys."""


@dataclass(frozen=True)
class Deployment:
    name: str
    stack: str
    region: str
    parameters: dict[str, str]

    @property
    def architecture(self) -> str:
        return self.parameters.get("Architecture", "arm64")

    def client(self, service: str, config: Config | None = None) -> Any:
        return boto3.client(service, region_name=self.region, config=config)

    def outputs(self) -> dict[str, str]:
        stacks = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}

    def token(self) -> str:
        """For a new user, signed with the deployment's own secret, for a quarter of an hour."""
        from shared import auth  # noqa: PLC0415 (only the smoke test wants it, and the app's packages)

        arn = self.outputs()["JwtSecretArn"]
        secret = self.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
        return auth.sign(
            uuid4(),
            secret=secret,
            now=time.time(),
            lifetime=_TOKEN_SECONDS,
            issuer=self.parameters.get("JwtIssuer"),
            audience=self.parameters.get("JwtAudience"),
        )


def named(name: str, overrides: Iterable[str] = (), config: Path = _CONFIG) -> Deployment:
    """`overrides` are Name=value, and go before those of the file. Raises DeploymentError."""
    tables = tomllib.loads(config.read_text("utf-8"))
    known = {key: table["deploy"] for key, table in tables.items() if key != "version" and "deploy" in table}
    if name not in known:
        raise DeploymentError(f"ENV must be one of {', '.join(known)}, as samconfig.toml has them")
    given = known[name]["parameters"]
    pairs = [pair.partition("=") for pair in (*given.get("parameter_overrides", ()), *overrides)]
    for key, equals, value in pairs:
        if not (key and equals) or any(character in value for character in " \"'"):
            raise DeploymentError(f"PARAMETERS are Name=value, without spaces or quotes; {key} is not")
    parameters = {key: value for key, _, value in pairs}
    return Deployment(name, given["stack_name"], given["region"], parameters)
