"""The clients that front ends in JavaScript use, against the real functions: see the files it names."""

from contextlib import ExitStack
from uuid import uuid4

import pytest

from shared.settings import load_settings
from tests.serving import mocked, serve, token
from tests.web import node

pytestmark = [node.needs_node, node.needs_packages]


@pytest.fixture
def served(database, mock):
    """Runs a file, given its servers' settings by the variables it finds their URLs in."""
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


def test_eventsource_parser_reads_every_dialect(served):
    served("sse.test.mjs", CHAT_URL={})


def test_the_sdk_of_openai_asks_streams_and_raises(served):
    served("openai.test.mjs", CHAT_URL={}, LIMITED_URL={"RATE_LIMIT_CHAT": "1/60"})


def test_the_ai_sdk_streams_stops_resumes_and_asks_again(served):
    served("ai_sdk.test.mjs", CHAT_URL={})
