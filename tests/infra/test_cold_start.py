"""The modules that a cold start imports from the bundle and from the runtime. A new package delays each cold
start. The tests compare modules, because time depends on the machine.

From the runtime's boto3, a start imports only botocore's `__init__`, because Powertools imports that.
"""

import asyncio
from uuid import uuid4

import pytest

from dev.lambda_emulator import in_thread
from tests.infra.bundles import LAMBDA_LOOP, ImportRecorder
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
# Modules that one import too many loads from packages that a bundle has.
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
    "shared.llm.refusals",
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


def test_a_turn_imports_no_module_after_the_start(image, env):
    recorder = ImportRecorder(image.chat_stream(env))
    with in_thread(recorder.emulator) as url, Client(url, uuid4()) as client:
        assert client.get("/health").status_code == 200
        started = recorder.imported
        assert client.post("/chat-stream", json={"message": "How are you?"}).status_code == 200
    assert recorder.imported == started
    assert NEVER & started == set()
    own, beside = recorder.packages(image, "chat_stream")
    assert own == PACKAGES["chat_stream"]
    assert beside == {"botocore"}


def test_a_list_imports_no_module_after_the_start(image, env):
    recorder = ImportRecorder(image.conversations(env))
    with in_thread(recorder.emulator) as url, Client(url, uuid4()) as client:
        assert client.get("/nothing").status_code == 404
        started = recorder.imported
        assert client.get("/api/chat/conversations").status_code == 200
    assert recorder.imported == started
    assert NEVER & started == set()
    own, beside = recorder.packages(image, "conversations")
    assert own == PACKAGES["conversations"]
    assert beside <= {"botocore", *LAMBDA_LOOP}


def test_migrations_import_no_web_framework_and_no_http_client(image):
    recorder = ImportRecorder(image.migrate({}))
    asyncio.run(invoke(recorder.emulator, "migrate"))
    assert recorder.imported & NEVER == {"migrations"}
    own, beside = recorder.packages(image, "migrate")
    assert own == PACKAGES["migrate"]
    assert beside <= {"botocore", *LAMBDA_LOOP}


async def invoke(emulator, name):
    async with emulator:
        return await emulator.invoke(name, {})
