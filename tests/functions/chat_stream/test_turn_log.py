"""The log line of each turn, written in the Lambda emulator: its fields, the private data that it never has,
and the metrics that CloudWatch reads from it."""

import io
import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from uuid import uuid4

import httpx_sse
import pytest

from dev.mock_llm import answer_text
from shared.logs import logger
from shared.settings import load_settings
from tests import embedded_metrics
from tests.serving import Client, mocked, serve, serve_on_lambda, token

MESSAGES = [{"role": "user", "content": "a very private thought"}]
METRICS_ENVIRON = {"POWERTOOLS_METRICS_NAMESPACE": "Chat", "POWERTOOLS_SERVICE_NAME": "chat-prod"}
JSON = {"content-type": "application/json"}
KEY = "the-providers-key"


class Log:
    """Collects the JSON lines that the functions print. Other lines are from the emulator."""

    def __init__(self):
        self.text = ""

    def __call__(self, _, line):
        self.text += line + "\n"

    @property
    def json_lines(self):
        return [line for line in self.text.splitlines() if line.startswith("{")]

    @property
    def lines(self):
        return [json.loads(line) for line in self.json_lines]

    def turns(self, **fields):
        """The log lines of turns whose fields have these values."""
        return [
            line
            for line in self.lines
            if line["message"] == "turn" and {name: line.get(name) for name in fields} == fields
        ]

    def metric(self, name):
        """The values that CloudWatch records of a metric, by dimensions."""
        found: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for text in self.json_lines:
            for each in embedded_metrics.parse(text):
                if each.name == name:
                    found.setdefault(each.dimensions, []).append(each.value)
        return found


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def environ(database, mock):
    allowed = {"LLM_ALLOWED_MODELS": "openai/*", "LOG_LEVEL": "DEBUG"}
    return mocked(database.url, mock, "openai/mock:tokens=5", **allowed, **METRICS_ENVIRON) | {
        "OPENAI_API_KEY": KEY
    }


def post(client, route="/chat-stream", model=None, headers=None, **body):
    question = {"message": MESSAGES[0]["content"]} if route == "/chat-stream" else {"messages": MESSAGES}
    return client.post(
        route, json=question | body | ({"model": model} if model else {}), headers=headers, timeout=30
    )


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_every_turn_has_one_log_line_without_private_data(environ, log):
    user, healthy = uuid4(), "openai/mock:tokens=5"
    environ |= {"LLM_MODEL": "openai/mock:500"}
    with serve_on_lambda(environ, log) as url, Client(url, user) as client, Client(url) as without_token:
        stored = post(client, model=healthy)
        for route in ("/stream-chat", "/api/chat", "/api/stream"):
            assert post(client, route, model=healthy).status_code == 200
        whole = post(client, "/v1/chat/completions", model=healthy, stream=False)
        refused = [
            post(without_token),
            client.post("/chat-stream", content=b'{"message": "a very private thought', headers=JSON),
            post(client, conversationId=str(uuid4())),
            post(client, message="a very private thought\0"),
            client.post("/chat-stream", content=b"a very private thought"),
        ]
        failed = [post(client, model=f"openai/mock:{fault}") for fault in ("401", "429")]
        broken = [post(client, model=f"openai/mock:{fault}") for fault in ("truncate", "bad-json", "cut")]
        with client.stream(
            "POST", "/chat-stream", json={"message": "a very private thought", "model": "openai/mock:hang"}
        ) as response:
            chunks = response.iter_bytes()
            next(chunks)
            cancelled = response.headers["x-message-id"]
            assert client.post(f"/api/chat/messages/{cancelled}/cancel").status_code == 202
            assert b"done" in b"".join(chunks)
    assert [response.status_code for response in refused] == [401, 400, 404, 400, 415]
    assert [response.status_code for response in failed] == [502] * 2
    assert [response.status_code for response in broken] == [200] * 3

    answers = [stored, whole, *refused, *failed, *broken]
    ids = {response.headers["x-request-id"] for response in answers}
    lines = log.turns()
    assert len(lines) == len({line["request_id"] for line in lines}) == 1 + 3 + 1 + 5 + 2 + 3 + 1
    assert ids <= {line["request_id"] for line in lines}
    assert len(log.turns(status="refused")) == 5
    assert len(log.turns(status="complete")) == 5
    assert len(log.turns(status="error")) == 5
    assert [line["message_id"] for line in log.turns(status="cancelled")] == [cancelled]

    bearer = token(user)
    secrets = ["private", "thought", KEY, bearer, *bearer.split("."), str(user), "Bearer"]
    secrets += [answer_text("tokens=5"), "Lorem", "postgresql://"]
    assert [secret for secret in secrets if secret in log.text] == []


def test_the_log_line_of_a_stored_turn_has_ids_usage_and_durations(database, environ, log):
    user = uuid4()
    environ |= {"LLM_MODEL": "openai/mock:tokens=5,input=20,cached=8,thinking=2,first=50ms"}
    with serve_on_lambda(environ, log) as url, Client(url, user) as client:
        response = post(client)
    [line] = log.turns()
    [row] = database.rows("select * from usage_logs")
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["message_id"] == response.headers["x-message-id"]
    assert line["conversation_id"] == response.headers["x-conversation-id"]
    assert line["user"] == sha256(str(user).encode()).hexdigest()[:16]
    assert (line["service"], line["dialect"]) == ("chat-prod", "/chat-stream")
    assert (line["status"], line["finish_reason"]) == ("complete", "stop")
    for name in ("provider", "model", "priced", "estimated", "ttft_ms"):
        assert line[name] == row[name]
    for name in ("in", "out", "cache_read", "cache_write", "reasoning"):
        assert line[f"tokens_{name}"] == row[f"tokens_{name}"]
    assert line["tokens_cache_read"] == 8
    assert line["cost_usd"] == float(row["cost_usd"])
    assert line["ttft_ms"] >= 50
    assert line["duration_ms"] >= line["ttft_ms"]
    assert line["database_ms"] <= line["duration_ms"]
    assert "code" not in line


def test_a_repeated_request_has_no_second_log_line(environ, log):
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        first, again = (post(client, headers={"idempotency-key": "one"}) for _ in range(2))
    assert again.headers["x-message-id"] == first.headers["x-message-id"]
    assert len(log.turns()) == 1
    [replayed] = [line for line in log.lines if line["message"] == "answer replayed"]
    assert replayed["message_id"] == first.headers["x-message-id"]
    assert replayed["request_id"] == again.headers["x-request-id"]


def test_the_log_lines_of_parallel_turns_do_not_mix(environ):
    """All turns run in one process."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)
    log = logging.getLogger(logger.service)
    log.addHandler(handler)
    users = {uuid4(): tokens for tokens in range(5, 11)}

    def ask(user):
        with Client(url, user) as client:
            return post(client, model=f"openai/mock:tokens={users[user]},gap=20ms")

    try:
        with serve(load_settings(environ)) as url, ThreadPoolExecutor(6) as pool:
            responses = list(pool.map(ask, users))
    finally:
        log.removeHandler(handler)
    turns = [json.loads(line) for line in written.getvalue().splitlines()]
    found = {line["message_id"]: line for line in turns if line["message"] == "turn"}
    for user, response in zip(users, responses, strict=True):
        line = found[response.headers["x-message-id"]]
        assert line["request_id"] == response.headers["x-request-id"]
        assert line["user"] == sha256(str(user).encode()).hexdigest()[:16]
        assert line["tokens_out"] == users[user]


SERVICE = ("service", "chat-prod")


def test_cloudwatch_reads_metrics_from_the_log_lines_of_turns(environ, log):
    environ |= {
        "LLM_MODEL": "openai/mock:500",
        "LLM_FALLBACK_MODELS": "openai/gpt-6-luna",
    }
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        assert post(client).status_code == 200
        assert post(client, "/api/chat", model="openai/mock:truncate").status_code == 200
        assert post(client, message="").status_code == 400
    assert log.metric("turns") == {
        (SERVICE,): [1, 1, 1],
        (SERVICE, ("status", "complete")): [1],
        (SERVICE, ("status", "error")): [1],
        (SERVICE, ("status", "refused")): [1],
    }
    by_model = (SERVICE, ("model", "gpt-6-luna"))
    [answered] = log.turns(status="complete")
    # The model of the truncated turn is not a dimension, because clients choose its name.
    for name in ("ttft_ms", "tokens_in", "tokens_out", "cost_usd"):
        values = log.metric(name)
        assert values.keys() == {(SERVICE,), by_model}
        assert values[by_model] == [answered[name]]
        assert len(values[SERVICE,]) == 2
    assert log.metric("fallbacks") == {(SERVICE,): [1]}
    assert log.metric("active_streams") == {(SERVICE,): [1, 1]}
    assert len(log.metric("duration_ms")[SERVICE,]) == 3
    assert len(log.metric("database_ms")[SERVICE,]) == 2
    assert log.metric("upstream_errors") == {
        (SERVICE,): [1, 1],
        (SERVICE, ("provider", "openai"), ("code", "upstream_error")): [1],
        (SERVICE, ("provider", "openai"), ("code", "upstream_truncated")): [1],
    }
    assert log.metric("faults") == log.metric("cancels") == {}


@pytest.mark.parametrize(
    ("setting", "value", "metric"),
    [("RATE_LIMIT_CHAT", "1/60", "rate_limited"), ("BUDGET_USD_PER_DAY", "0.0000001", "budget_exceeded")],
)
def test_refusals_by_rate_limit_and_budget_are_counted(environ, log, setting, value, metric):
    with serve_on_lambda(environ | {setting: value}, log) as url, Client(url, uuid4()) as client:
        statuses = {post(client).status_code for _ in range(2)}
    refused = log.turns(status="refused", code=metric)
    assert 429 in statuses
    assert log.metric(metric) == {(SERVICE,): [1] * len(refused)}
    assert refused


def test_refusals_by_the_limit_on_writes_are_counted(environ, log):
    with serve_on_lambda(environ | {"RATE_LIMIT_WRITE": "1/60"}, log) as url, Client(url, uuid4()) as client:
        assert client.post("/api/chat/conversations", json={}).status_code == 201
        assert client.post("/api/chat/conversations", json={}).status_code == 429
    assert log.metric("rate_limited") == {(SERVICE,): [1]}


def test_an_unreachable_database_is_counted_as_a_fault(environ, log):
    environ |= {"DATABASE_URL": f"postgresql://chat_app@127.0.0.1:{closed_port()}/chat"}
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        assert post(client).status_code == 503
        assert client.get("/api/chat/conversations").status_code == 503
    [line] = log.turns(status="refused", code="unavailable")
    assert "database_ms" in line
    assert log.metric("faults") == {(SERVICE,): [1, 1]}
    assert len(log.metric("database_errors")[SERVICE,]) >= 2


def test_a_turn_without_the_database_counts_a_database_error(environ, log):
    environ |= {"DATABASE_URL": f"postgresql://chat_app@127.0.0.1:{closed_port()}/chat"}
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        fields = {"chatId": "one", "model": "openai/mock:tokens=5"}
        assert post(client, "/api/stream", **fields).status_code == 200
    [line] = log.turns()
    assert (line["status"], line.get("conversation_id")) == ("complete", None)
    assert log.metric("database_errors")


def test_a_cancelled_turn_is_counted_as_a_cancel(environ, log):
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        body = {"message": "Hi", "model": "openai/mock:tokens=500,gap=20ms"}
        with client.stream("POST", "/chat-stream", json=body) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            next(events)
            client.post(f"/api/chat/messages/{response.headers['x-message-id']}/cancel")
            assert [event.json()["type"] for event in events][-1] == "done"
    assert log.metric("cancels") == {(SERVICE,): [1]}
    [line] = log.turns()
    assert (line["status"], line["finish_reason"]) == ("cancelled", "cancelled")
    assert time.time() * 1000 - line["_aws"]["Timestamp"] < 60_000


def test_without_a_namespace_the_log_line_has_no_metrics(environ, log):
    for name in METRICS_ENVIRON:
        del environ[name]
    with serve_on_lambda(environ, log) as url, Client(url, uuid4()) as client:
        post(client)
    [line] = log.turns(status="complete")
    assert "_aws" not in line
    assert line["service"] == "serverless-chat"
