"""If no model answers, the client gets a friendly error within 3 seconds. Measured in real time."""

import socket
import time
from uuid import uuid4

import pytest

from tests.serving import Client, serve, settings

pytestmark = pytest.mark.wall_clock
USER = uuid4()


def ask(config):
    with serve(config) as url, Client(url, USER) as client:
        started_at = time.monotonic()
        response = client.post("/chat-stream", json={"message": "Hi"})
        return response, time.monotonic() - started_at


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def check(database, result, code, costs_money=False, status=502):
    response, seconds = result
    assert seconds < 3
    assert response.status_code == status
    assert response.json()["code"] == code
    assert response.json()["userMessage"] == "Coach is taking a moment. Let's try again."
    question, answer = database.rows("select * from messages order by created_at, id")
    assert (question["content"], question["status"]) == ("Hi", "complete")
    assert (answer["content"], answer["status"], answer["metadata"]) == ("", "error", {"code": code})
    assert str(answer["id"]) == response.headers["x-message-id"]
    attempts = database.rows("select * from usage_logs")
    assert bool(attempts) == costs_money
    assert all(
        (row["status"], row["estimated"]) == ("error", True) and row["cost_usd"] > 0 for row in attempts
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("401", "upstream_auth"),
        ("429", "upstream_rate_limited"),
        ("429,retry_after=30", "upstream_rate_limited"),
        ("500", "upstream_error"),
        ("529", "upstream_overloaded"),
        ("404", "model_not_found"),
        ("no-headers", "upstream_timeout"),
    ],
)
def test_a_model_that_fails_or_hangs_is_502_within_three_seconds(database, mock, script, code):
    config = settings(
        database.url,
        LLM_MODEL=f"anthropic/mock:{script}",
        ANTHROPIC_API_KEY="key",
        ANTHROPIC_BASE_URL=mock.base_url("anthropic"),
    )
    check(database, ask(config), code, status=400 if script == "404" else 502)


def test_a_model_that_fails_after_reading_the_prompt_costs_the_prompt(database, mock):
    config = settings(
        database.url,
        LLM_MODEL="anthropic/mock:error,after=0",
        ANTHROPIC_API_KEY="key",
        ANTHROPIC_BASE_URL=mock.base_url("anthropic"),
    )
    check(database, ask(config), "upstream_overloaded", costs_money=True)


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:{port}", "http://nobody.invalid"],
    ids=["refused-connection", "dns-failure"],
)
def test_an_unreachable_provider_is_502_within_three_seconds(database, base_url):
    url = base_url.format(port=closed_port())
    config = settings(database.url, LLM_MODEL="openai/mock", OPENAI_API_KEY="key", OPENAI_BASE_URL=url)
    check(database, ask(config), "upstream_unreachable")


@pytest.mark.parametrize("first", ["500", "no-headers"])
def test_a_fallback_that_hangs_is_502_within_three_seconds(database, mock, first):
    config = settings(
        database.url,
        LLM_MODEL=f"openai/mock:{first}",
        LLM_FALLBACK_MODELS="ollama/mock:no-headers",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
        OLLAMA_BASE_URL=mock.base_url("ollama"),
    )
    check(database, ask(config), "upstream_timeout")


# An answer with status 200 is paid for, and is asked for once more.
@pytest.mark.parametrize(
    ("first", "paid"),
    [("500", 0), ("401", 0), ("no-headers", 0), ("error&after=0", 2), ("truncate&after=0", 2), ("html", 1)],
)
def test_a_fallback_answers_within_three_seconds_if_the_first_model_fails(database, mock, first, paid):
    config = settings(
        database.url,
        LLM_MODEL=f"openai/mock:{first}",
        LLM_FALLBACK_MODELS="ollama/mock:tokens=3",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
        OLLAMA_BASE_URL=mock.base_url("ollama"),
    )
    response, seconds = ask(config)
    assert response.status_code == 200
    assert seconds < 3
    attempts = database.rows(
        "select provider, status, tokens_in > 0 as has_prompt from usage_logs order by provider desc"
    )
    failed = {"provider": "openai", "status": "error", "has_prompt": True}
    assert attempts == [failed] * paid + [{"provider": "ollama", "status": "complete", "has_prompt": True}]
