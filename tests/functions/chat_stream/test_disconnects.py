"""A closed connection cancels a turn on `/v1`, with its cost. On other routes the turn continues."""

import time
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest

from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.serving import Client, mocked, serve, token

USER = uuid4()
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
SLOW = "openai/mock:tokens=400,gap=20ms"
SHORT = "openai/mock:tokens=40,gap=20ms"


@pytest.fixture
def url(database, mock):
    mock.reset()
    configured = mocked(database.url, mock, SLOW, LLM_ALLOWED_MODELS="openai/mock:*")
    with serve(load_settings(configured)) as url:
        yield url


def settled(database):
    """The usage row of the only turn, once the turn is settled."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if rows := database.rows("select * from usage_logs"):
            [turn] = database.rows("select * from turns")
            return turn, rows[0]
        time.sleep(0.02)
    raise AssertionError("the turn was not settled")


def check_cancelled(database, mock):
    turn, usage = settled(database)
    assert (turn["status"], usage["status"], usage["estimated"]) == ("cancelled", "cancelled", True)
    assert usage["tokens_in"] > 0
    assert usage["tokens_out"] < 200
    assert usage["cost_usd"] > 0
    while mock.stats()["open"]:
        time.sleep(0.02)
    assert mock.stats()["aborted"] == 1
    return usage


def test_a_closed_stream_of_openai_is_cancelled_with_the_cost_of_its_text(database, mock, url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token(USER), max_retries=0) as client:
        read = ""
        with client.chat.completions.create(model=SLOW, messages=MESSAGES, stream=True) as stream:
            for chunk in stream:
                read += chunk.choices[0].delta.content or ""
                if len(read) > 100:
                    break
    usage = check_cancelled(database, mock)
    assert usage["tokens_out"] >= len(read) / 4


def test_a_closed_request_of_openai_for_json_is_cancelled(database, mock, url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=token(USER), max_retries=0, timeout=0.8)
    with client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=SLOW, messages=MESSAGES)
    check_cancelled(database, mock)


def test_a_connection_that_closes_before_the_model_starts_is_cancelled(database, mock, url):
    body = {"model": "openai/mock:tokens=400,headers=1,gap=20ms", "messages": MESSAGES, "stream": True}
    with Client(url, USER) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body, timeout=0.5)
    turn, usage = settled(database)
    assert (turn["status"], usage["status"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat-stream", {"message": "Hi"}),
        ("/stream-chat", {"messages": MESSAGES}),
        ("/api/chat", {"messages": MESSAGES}),
        ("/api/chat", {"messages": MESSAGES, "stream": False}),
        ("/api/stream", {"messages": MESSAGES}),
        (
            "/api/ui/chat",
            {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]},
        ),
    ],
)
def test_on_other_routes_the_turn_continues(database, mock, url, path, body):
    with Client(url, USER) as client, pytest.raises(httpx.ReadTimeout):
        client.post(path, json=body | {"model": SHORT}, timeout=httpx.Timeout(5, read=0.01))
    turn, usage = settled(database)
    assert (turn["status"], usage["status"], usage["tokens_out"]) == ("complete", "complete", 40)
    assert mock.stats()["aborted"] == 0
    if turn["conversation_id"]:
        [answer] = database.rows("select content from messages where role = 'assistant'")
        assert answer["content"] == answer_text("tokens=40")


def test_an_answer_that_is_read_to_its_end_is_complete(database, mock, url):
    for stream in (True, False):
        body = {"model": "openai/mock:tokens=5", "messages": MESSAGES, "stream": stream}
        with Client(url, USER) as client:
            assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert {row["status"] for row in database.rows("select status from usage_logs")} == {"complete"}
