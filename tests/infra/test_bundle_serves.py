"""The bundles serve under the emulator with only Lambda's own packages on the path.

The name of each test has the version of Python: the deployed one where this machine has it.
"""

import asyncio
import json
import os
import subprocess
from uuid import uuid4

import httpx_sse
import psycopg
import pytest

from dev import openapi, postgres
from dev.lambda_emulator import in_thread
from dev.mock_llm import answer_text
from infra import build
from migrations import files
from tests.infra.bundles import LAMBDA_LOOP, ImportRecorder
from tests.serving import Client, environment, mocked

USER = uuid4()


def test_a_turn_is_streamed_stored_and_resumed(image, database, mock):
    env = mocked(database.url, mock, "openai/mock:tokens=40")
    recorder = ImportRecorder(image.chat_stream(env))
    with in_thread(recorder.emulator) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "How are you?"}) as response:
            events = [event.json() for event in httpx_sse.EventSource(response).iter_sse()]
        again = client.get(f"/api/chat/messages/{response.headers['x-message-id']}/stream")
    assert "".join(event.get("content", "") for event in events) == answer_text("tokens=40")
    assert events[-1]["type"] == "done"
    assert again.status_code == 200
    assert database.rows("select status, content from messages where role = 'assistant'") == [
        {"status": "complete", "content": answer_text("tokens=40")}
    ]
    _, beside = recorder.packages(image, "chat_stream")
    assert beside == {"botocore"}


def test_every_kind_of_request_to_the_conversations_function_works(image, database):
    recorder = ImportRecorder(image.conversations(environment(database.url, ALLOW_ANONYMOUS="true")))
    with in_thread(recorder.emulator) as url, Client(url, USER) as client:
        made = client.post("/api/chat/conversations", json={"title": "Sleep"}).json()
        path = f"/api/chat/conversations/{made['id']}"
        client.post(f"{path}/messages", json={"role": "user", "content": "How do I sleep better?"})
        listed = client.get("/api/chat/conversations").json()
        messages = client.get(f"{path}/messages").json()
        found = client.get("/api/chat/search", params={"q": "sleep"}).json()
        exported = client.get(f"{path}/export", params={"format": "markdown"})
        used = client.get("/api/chat/usage")
        described = client.get("/openapi.json").content
        signed_in = client.post("/auth/anonymous")
        deleted = client.delete(path)
    assert [conversation["id"] for conversation in listed["conversations"]] == [made["id"]]
    assert [message["content"] for message in messages["messages"]] == ["How do I sleep better?"]
    assert len(found["results"]) == 1
    assert "How do I sleep better?" in exported.text
    assert described == openapi.render()
    assert {answer.status_code for answer in (exported, used)} == {200}
    assert (signed_in.status_code, deleted.status_code) == (200, 204)
    _, beside = recorder.packages(image, "conversations")
    assert beside <= {"botocore", *LAMBDA_LOOP}


@pytest.fixture
def empty(server):
    """The owner's URL of an empty database, in a server with the role that RDS has for logins by IAM."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("create role rds_iam")
        connection.execute(f"grant rds_iam to {postgres.OWNER} with admin option".encode())
        connection.execute(f"create database {name} owner {postgres.OWNER}".encode())
        yield server.url(postgres.OWNER, name)
        connection.execute(f"drop database {name} with (force)".encode())
        connection.execute("drop role rds_iam")


def test_migrations_are_applied_to_an_empty_database(image, empty):
    recorder = ImportRecorder(image.migrate({"MIGRATION_DATABASE_URL": empty, "DATABASE_IAM_AUTH": "true"}))

    async def twice():
        async with recorder.emulator as emulator:
            return [json.loads((await emulator.invoke("migrate", {})).payload) for _ in range(2)]

    source = files.load()
    names = [migration.name for migration in source.migrations]
    names += [f"functions/{function.name}.sql" for function in source.functions]
    assert [done["applied"] for done in asyncio.run(twice())] == [names, []]
    _, beside = recorder.packages(image, "migrate")
    assert beside <= {"botocore", *LAMBDA_LOOP}


@pytest.mark.parametrize("function", build.ENTRIES)
def test_secrets_are_read_with_powertools_of_the_bundle_and_boto3_of_the_runtime(image, function):
    command = (
        "from shared import aws; aws.SecretsManager()._provider('eu-central-1');"
        "print(sys.modules['aws_lambda_powertools'].__file__, sys.modules['boto3'].__file__)"
    )
    path = os.pathsep.join([str(image.bundle(function)), str(image.runtime)])
    made = subprocess.run(
        [image.python, "-c", f"import sys; {command}"],
        env={"PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout.split() == [
        str(image.bundle(function) / "aws_lambda_powertools/__init__.py"),
        str(image.runtime / "boto3/__init__.py"),
    ]
