"""Every dialect over HTTP, read with a real event stream parser."""

import itertools
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from dev.mock_llm import answer_text, partial_text
from shared.settings import load_settings
from tests.functions.chat_stream.dialects.scripts import ReadAnswer, read
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


def stream(client, name, script):
    route, body = BODIES[name]
    return client.stream("POST", route, json={**body(next(_numbers)), "model": f"nvidia/mock:{script}"})


def answer(client, name, script):
    with stream(client, name, script) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert ("x-vercel-ai-ui-message-stream" in response.headers) == (name == "ui")
        data = b"".join(response.iter_raw())
    return data, read(name, data)


@names
def test_a_turn_has_the_same_text_in_every_dialect(url, name):
    with Client(url, USER) as client:
        for script in ("tokens=20", "tokens=20,thinking=5", "odd", "tokens=20,finish=length"):
            data, found = answer(client, name, script)
            # Characters that Postgres cannot store are replaced.
            text = answer_text(script).replace("\0", "\ufffd").replace("\ud800", "\ufffd")
            assert found == ReadAnswer(text, ["good"]), script
            assert (b"reasoning-delta" in data) == (name == "ui" and "thinking" in script)


@names
def test_clients_ignore_heartbeats_and_padding(url, name):
    with Client(url, USER) as client:
        data, found = answer(client, name, "tokens=3,gap=200ms")
    assert data.startswith(b":" + b" " * 61 + b"\n\n")
    assert data.count(b": ping\n\n") > 2
    assert found == ReadAnswer(answer_text("tokens=3"), ["good"])


@names
def test_a_truncated_answer_ends_with_an_error(url, name):
    with Client(url, USER) as client:
        _, found = answer(client, name, "tokens=20,after=7,fault=truncate")
    assert found == ReadAnswer(partial_text("tokens=20,after=7"), ["error"])


@names
def test_a_cancelled_answer_ends_without_an_error_and_keeps_its_text(url, name):
    with Client(url, USER) as client, stream(client, name, "tokens=500,gap=20ms") as response:
        chunks = response.iter_raw()
        data = next(chunks)
        with Client(url, USER) as other:
            cancelled = other.post(f"/api/chat/messages/{response.headers['x-message-id']}/cancel")
        assert cancelled.status_code in {200, 202}, cancelled.text
        data += b"".join(chunks)
    found = read(name, data)
    assert found.ends == ["good"]
    assert len(found.text) < len(answer_text("tokens=500"))
    assert answer_text("tokens=500").startswith(found.text)
    assert (b'{"type":"abort"}' in data) == (name == "ui")


@names
def test_a_model_that_is_not_allowed_is_refused_with_the_allowed_models(url, name):
    route, body = BODIES[name]
    with Client(url, USER) as client:
        response = client.post(route, json={**body(next(_numbers)), "model": "nvidia/other"})
    assert response.status_code == 400
    refusal = response.json()["error"] if name == "openai" else response.json()
    assert refusal["code"] == "invalid_request"
    assert refusal["param" if name == "openai" else "field"] == "model"
    assert "nvidia/mock:tokens=20" in str(refusal)
