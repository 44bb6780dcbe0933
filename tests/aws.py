"""A client of moto's server, which stands for AWS Secrets Manager in tests."""

import importlib
import json
from typing import Any

import boto3

REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not a real key",
    "AWS_SESSION_TOKEN": "a session",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class SecretsManager:
    def __init__(self, url: str) -> None:
        self.env = {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
        self._client = boto3.client(
            "secretsmanager",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        # The first requests are slow in moto and in boto3, and the functions wait two seconds at most.
        arn = self.create("first", "x")
        self._client.get_secret_value(SecretId=arn)
        importlib.import_module("aws_lambda_powertools.utilities.parameters")
        boto3.session.Session().client("secretsmanager", region_name=REGION)

    def create(self, name: str, value: str | dict[str, Any]) -> str:
        """Creates a secret and returns its ARN."""
        arn: str = self._client.create_secret(Name=name, SecretString=_text(value))["ARN"]
        return arn

    def rotate(self, arn: str, value: str | dict[str, Any]) -> None:
        """Makes `value` the current version (AWSCURRENT). The version before becomes AWSPREVIOUS."""
        self._client.put_secret_value(SecretId=arn, SecretString=_text(value))

    def prepare(self, arn: str, value: str | dict[str, Any]) -> None:
        """Adds a pending version (AWSPENDING), as the first half of a rotation does."""
        self._client.put_secret_value(SecretId=arn, SecretString=_text(value), VersionStages=["AWSPENDING"])

    def delete(self, arn: str) -> None:
        self._client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def _text(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value)
