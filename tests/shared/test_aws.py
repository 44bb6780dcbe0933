"""Secrets from Secrets Manager (moto), and IAM tokens for the database login."""

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from shared.aws import SecretsManager, database_token
from shared.errors import Unavailable
from tests.aws import CREDENTIALS, REGION

ROOT = Path(__file__).parents[2]


@pytest.fixture
def aws(secrets_manager, monkeypatch):
    for name, value in secrets_manager.env.items():
        monkeypatch.setenv(name, value)
    return secrets_manager


def value_of(text):
    return asyncio.run(SecretsManager().secret(text).value())


def test_a_secret_is_read_by_its_arn(aws):
    assert value_of(aws.create("plain", "a key\n")) == "a key"


@pytest.mark.parametrize("form", ["{}:anthropic", "{}:anthropic::"], ids=["short", "as-ecs"])
def test_a_field_of_a_json_secret_is_read_by_its_arn_and_name(aws, form, request):
    arn = aws.create(f"json-{request.node.callspec.id}", {"anthropic": "a", "openai": "b"})
    assert value_of(form.format(arn)) == "a"


@pytest.mark.parametrize(
    "text",
    [
        "my-secret",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/key",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:name-abcdef:field:AWSPREVIOUS:",
    ],
)
def test_a_text_that_is_not_an_arn_of_a_secret_is_refused(text):
    with pytest.raises(ValueError):
        SecretsManager().secret(text)


def test_versions_are_read_by_their_stages(aws):
    arn = aws.create("staged", "first")

    async def scenario():
        secret = SecretsManager().secret(arn)
        assert await secret.current_versions() == ("first",)
        aws.rotate(arn, "second")
        aws.prepare(arn, "third")
        assert await secret.current_versions() == ("first",)
        assert await secret.refresh() == ("second", "third", "first")

    asyncio.run(scenario())


def test_a_missing_secret_is_unavailable_and_a_deleted_secret_keeps_its_last_value(aws):
    arn = aws.create("gone", "a")

    async def scenario():
        secret = SecretsManager().secret(arn)
        assert await secret.value() == "a"
        aws.delete(arn)
        assert await secret.replacement_for("a") is None
        assert await secret.value() == "a"

    asyncio.run(scenario())
    with pytest.raises(Unavailable):
        value_of(arn)


@pytest.mark.wall_clock
def test_an_unresponsive_secrets_manager_is_unavailable_in_time(aws, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        secret = SecretsManager().secret(f"arn:aws:secretsmanager:{REGION}:123456789012:secret:x-abcdef")

        async def scenario():
            started_at = time.monotonic()
            with pytest.raises(Unavailable):
                await secret.value()
            assert time.monotonic() - started_at < 2.6

        started_at = time.monotonic()
        asyncio.run(scenario())
        # The loop waits for its reading thread when it closes, so the thread must end soon too.
        assert time.monotonic() - started_at < 20


def test_a_database_token_equals_the_token_of_boto3(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    # A new session: the default session keeps the credentials of its first use.
    client = boto3.session.Session().client("rds", region_name=REGION)
    arguments = {"DBHostname": "db.example", "Port": 6432, "DBUsername": "chat app", "Region": REGION}
    for _ in range(100):  # until both tokens are made in the same second
        expected = client.generate_db_auth_token(**arguments)
        if database_token("db.example", 6432, "chat app", REGION) == expected:
            return
    pytest.fail("the tokens differ")


def test_boto3_is_not_imported_without_stored_secrets():
    script = (
        "import sys\n"
        "from functions.chat_stream.app import create_app\n"
        "from shared.settings import load_settings\n"
        "create_app(load_settings({'DATABASE_URL': 'postgresql://', 'JWT_SECRET': 'x' * 32}))\n"
        "heavy = {'boto3', 'botocore.session', 'aws_lambda_powertools.utilities.parameters'}\n"
        "print(heavy & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
