"""A deployment of samconfig.toml: its stack, its region, its parameters and its outputs on AWS."""

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
    """A deployment is misconfigured or failed. The message is for the person who deploys."""


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
        """Returns a token for a new user, signed with the deployment's secret and valid for 15 minutes."""
        from shared import auth  # noqa: PLC0415 (only the smoke test needs it)

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


def load_deployment(name: str, overrides: Iterable[str] = (), config: Path = _CONFIG) -> Deployment:
    """Reads a deployment from samconfig.toml.

    `overrides` have the form Name=value and override the parameters in the file. Raises DeploymentError.
    """
    tables = tomllib.loads(config.read_text("utf-8"))
    known = {key: table["deploy"] for key, table in tables.items() if key != "version" and "deploy" in table}
    if name not in known:
        raise DeploymentError(f"ENV must be one of {', '.join(known)}: the names in samconfig.toml")
    settings = known[name]["parameters"]
    pairs = [pair.partition("=") for pair in (*settings.get("parameter_overrides", ()), *overrides)]
    for key, equals, value in pairs:
        if not (key and equals) or any(character in value for character in " \"'"):
            raise DeploymentError(f"PARAMETERS must be Name=value, without spaces or quotes; {key} is not")
    parameters = {key: value for key, _, value in pairs}
    return Deployment(name, settings["stack_name"], settings["region"], parameters)
