"""Runs the tests of JavaScript client libraries in Node, with the real functions."""

from contextlib import ExitStack
from uuid import uuid4

import pytest

from shared.settings import load_settings
from tests.serving import mocked, serve, token
from tests.web import node

pytestmark = [node.needs_node, node.needs_packages]


@pytest.fixture
def run_with_servers(database, mock):
    """Runs a test file. Each keyword argument starts a server with these settings. The file finds the URL of
    the server in the environment variable of that name."""
    settings = {"LLM_ALLOWED_MODELS": "nvidia/mock:*", "STREAM_HEARTBEAT": "0.05"}

    def run(file, **servers):
        with ExitStack() as stack:
            urls = {
                name: stack.enter_context(
                    serve(
                        load_settings(
                            mocked(database.url, mock, "nvidia/mock:tokens=12", **settings, **environ)
                        )
                    )
                )
                for name, environ in servers.items()
            }
            node.run(file, **urls, TOKENS=",".join(token(uuid4()) for _ in range(60)))

    return run


def test_eventsource_parser_reads_every_dialect(run_with_servers):
    run_with_servers("sse.test.mjs", CHAT_URL={})


def test_the_openai_sdk_completes_streams_and_raises_errors(run_with_servers):
    run_with_servers("openai.test.mjs", CHAT_URL={}, LIMITED_URL={"RATE_LIMIT_CHAT": "1/60"})


def test_the_ai_sdk_streams_stops_resumes_and_retries(run_with_servers):
    run_with_servers("ai_sdk.test.mjs", CHAT_URL={})


def test_clients_that_connect_again_continue_the_answer(run_with_servers):
    run_with_servers("reconnecting.test.mjs", CHAT_URL={})
