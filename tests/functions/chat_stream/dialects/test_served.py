"""Every dialect from a real server, read by a real reader of event streams."""

import itertools
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from dev.mock_llm import answer_text, partial_text
from shared.settings import load_settings
from tests.functions.chat_stream.dialects.scripts import Read, read
from tests.serving import Client, mocked, serve

USER = uuid4()
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
BODIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "chat-stream": ("/chat-stream", lambda _: {"message": "Hi"}),
    "stream-chat": ("/stream-chat", lambda _: {"messages": MESSAGES}),
    "chat": ("/api/chat", lambda _: {"messages": MESSAGES}),
    "chat-in-words": ("/api/chat", lambda _: {"messages": MESSAGES, "chunk_words": 4}),
    "stream": ("/api/stream", lambda number: {"messages": MESSAGES, "chatId": f"chat {number}"}),
    "openai": ("/v1/chat/completions", lambda _: {"messages": MESSAGES, "stream": True}),
    "ui": (
        "/api/ui/chat",
        lambda number: {
            "id": f"chat {number}",
            "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}],
            "trigger": "submit-message",
        },
    ),
}
_numbers = itertools.count()
names = pytest.mark.parametrize("name", BODIES)


@pytest.fixture
def url(database, mock):
    environ = mocked(
        database.url,
        mock,
        "nvidia/mock:tokens=20",
        LLM_ALLOWED_MODELS="nvidia/mock:*",
        STREAM_HEARTBEAT="0.05",
        STREAM_PADDING="64",
    )
    with serve(load_settings(environ)) as url:
        yield url


def asking(client, name, script):
    route, body = BODIES[name]
    return client.stream("POST", route, json={**body(next(_numbers)), "model": f"nvidia/mock:{script}"})


def answer(client, name, script):
    with asking(client, name, script) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert ("x-vercel-ai-ui-message-stream" in response.headers) == (name == "ui")
        data = b"".join(response.iter_raw())
    return data, read(name, data)


@names
def test_the_same_turn_reads_the_same(url, name):
    with Client(url, USER) as client:
        for script in ("tokens=20", "tokens=20,thinking=5", "odd", "tokens=20,finish=length"):
            data, found = answer(client, name, script)
            # What no database can hold is replaced before anybody sees it.
            text = answer_text(script).replace("\0", "\ufffd").replace("\ud800", "\ufffd")
            assert found == Read(text, ["good"]), script
            assert (b"reasoning-delta" in data) == (name == "ui" and "thinking" in script)


@names
def test_heartbeats_and_padding_are_not_seen(url, name):
    with Client(url, USER) as client:
        data, found = answer(client, name, "tokens=3,gap=200ms")
    assert data.startswith(b":" + b" " * 61 + b"\n\n")
    assert data.count(b": ping\n\n") > 2
    assert found == Read(answer_text("tokens=3"), ["good"])


@names
def test_an_answer_that_breaks_off_ends_in_an_error(url, name):
    with Client(url, USER) as client:
        _, found = answer(client, name, "tokens=20,after=7,fault=truncate")
    assert found == Read(partial_text("tokens=20,after=7"), ["error"])


@names
def test_a_cancelled_answer_ends_well_with_what_there_is(url, name):
    with Client(url, USER) as client, asking(client, name, "tokens=500,gap=20ms") as response:
        chunks = response.iter_raw()
        data = next(chunks)
        with Client(url, USER) as other:
            stopped = other.post(f"/api/chat/messages/{response.headers['x-message-id']}/cancel")
        assert stopped.status_code in {200, 202}, stopped.text
        data += b"".join(chunks)
    found = read(name, data)
    assert found.ends == ["good"]
    assert len(found.text) < len(answer_text("tokens=500"))
    assert answer_text("tokens=500").startswith(found.text)
    assert (b'{"type":"abort"}' in data) == (name == "ui")


@names
def test_a_model_that_is_not_allowed_is_refused_with_those_that_are(url, name):
    route, body = BODIES[name]
    with Client(url, USER) as client:
        response = client.post(route, json={**body(next(_numbers)), "model": "nvidia/other"})
    assert response.status_code == 400
    refusal = response.json()["error"] if name == "openai" else response.json()
    assert refusal["code"] == "invalid_request"
    assert refusal["param" if name == "openai" else "field"] == "model"
    assert "nvidia/mock:tokens=20" in str(refusal)
