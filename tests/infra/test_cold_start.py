"""What a cold start imports, from the bundle, with the runtime's packages beside it: the set of modules, as
time depends on the machine. A package that is new here is new in every cold start.

From the runtime's boto3 it is botocore's `__init__` alone, where Powertools leaves its name for later.
"""

import asyncio
from uuid import uuid4

import pytest

from dev.lambda_emulator import in_thread
from tests.infra.bundles import LAMBDA_LOOP, Saying
from tests.serving import Client, mocked

PACKAGES = {
    "chat_stream": {
        "_cffi_backend",
        "anyio",
        "aws_lambda_powertools",
        "cryptography",
        "functions",
        "h11",
        "httptools",
        "httpx",
        "idna",
        "jmespath",
        "jwt",
        "msgspec",
        "psycopg",
        "psycopg_binary",
        "shared",
        "starlette",
        "typing_extensions",
    },
    "conversations": {
        "_cffi_backend",
        "anyio",
        "aws_lambda_powertools",
        "cryptography",
        "functions",
        "jmespath",
        "jwt",
        "mangum",
        "msgspec",
        "psycopg",
        "psycopg_binary",
        "shared",
        "starlette",
        "typing_extensions",
    },
    "migrate": {
        "aws_lambda_powertools",
        "functions",
        "jmespath",
        "migrations",
        "msgspec",
        "psycopg",
        "psycopg_binary",
        "shared",
        "typing_extensions",
    },
}
# What one line too many brings in, of packages that are there anyway.
NEVER = {
    "anyio._backends",
    "argparse",
    "asyncio.windows_events",
    "aws_lambda_powertools.event_handler",
    "aws_lambda_powertools.metrics.provider.datadog",
    "aws_lambda_powertools.tracing.base",
    "aws_lambda_powertools.utilities.data_classes",
    "aws_lambda_powertools.utilities.parameters",
    "aws_xray_sdk",
    "botocore.session",
    "concurrent.futures.process",
    "email.mime",
    "dev",
    "functions.chat_stream.openapi_types",
    "httpcore",
    "migrations",
    "multiprocessing",
    "psycopg_pool",
    "pydoc",
    "sqlite3",
    "starlette.applications",
    "starlette.middleware.base",
    "starlette.staticfiles",
    "starlette.templating",
    "starlette.testclient",
    "unittest",
    "xml",
}


@pytest.fixture
def env(database, mock):
    return mocked(database.url, mock, "openai/mock:tokens=4")


def test_a_turn_imports_nothing_that_the_start_did_not(image, env):
    saying = Saying(image.chat_stream(env))
    with in_thread(saying.emulator) as url, Client(url, uuid4()) as client:
        assert client.get("/health").status_code == 200
        started = saying.imported
        assert client.post("/chat-stream", json={"message": "How are you?"}).status_code == 200
    assert saying.imported == started
    assert NEVER & started == set()
    own, beside = saying.packages(image, "chat_stream")
    assert own == PACKAGES["chat_stream"]
    assert beside == {"botocore"}


def test_a_list_imports_nothing_that_the_start_did_not(image, env):
    saying = Saying(image.conversations(env))
    with in_thread(saying.emulator) as url, Client(url, uuid4()) as client:
        assert client.get("/nothing").status_code == 404
        started = saying.imported
        assert client.get("/api/chat/conversations").status_code == 200
    assert saying.imported == started
    assert NEVER & started == set()
    own, beside = saying.packages(image, "conversations")
    assert own == PACKAGES["conversations"]
    assert beside <= {"botocore", *LAMBDA_LOOP}


def test_migrations_import_neither_a_web_framework_nor_a_client(image):
    saying = Saying(image.migrate({}))
    asyncio.run(invoke(saying.emulator, "migrate"))
    assert saying.imported & NEVER == {"migrations"}
    own, beside = saying.packages(image, "migrate")
    assert own == PACKAGES["migrate"]
    assert beside <= {"botocore", *LAMBDA_LOOP}


async def invoke(emulator, name):
    async with emulator:
        return await emulator.invoke(name, {})
