"""The segment documents that the X-Ray daemon receives for turns. Source of their rules: AWS, "X-Ray segment
documents"."""

import json
import re
import socket
import subprocess
import sys
from uuid import uuid4

import pytest

from dev.local import ROOT
from shared.tracing import Tracer
from tests.serving import Client, environment, mocked, serve_on_lambda

SAMPLED = "Root=1-5f2330a4-6a0de1cd0e17c0508d386a64;Parent=70de5b6f19ff9a0a;Sampled=1"


@pytest.fixture
def daemon():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        yield receiver


def address(daemon):
    host, port = daemon.getsockname()
    return f"{host}:{port}"


def receive(daemon):
    header, _, document = daemon.recv(65_536).partition(b"\n")
    assert json.loads(header) == {"format": "json", "version": 1}
    return json.loads(document)


def test_a_turn_is_one_subsegment_with_its_steps(database, mock, daemon):
    environ = mocked(database.url, mock, "openai/mock:tokens=5,gap=20ms") | {
        "TRACING": "true",
        "AWS_XRAY_DAEMON_ADDRESS": address(daemon),
    }
    log = []
    with (
        serve_on_lambda(environ, lambda _, line: log.append(line)) as url,
        Client(url, uuid4()) as client,
    ):
        response = client.post("/chat-stream", json={"message": "a very private thought"})
        turn = receive(daemon)
    [line] = [json.loads(line) for line in log if '"message":"turn"' in line]
    assert (turn["name"], turn["type"], turn["fault"]) == ("turn", "subsegment", False)
    # The trace id links the log line and the document.
    assert line["xray_trace_id"] == turn["trace_id"]
    assert re.fullmatch(r"1-[0-9a-f]{8}-[0-9a-f]{24}", turn["trace_id"])
    assert turn["annotations"]["message_id"] == response.headers["x-message-id"]
    assert turn["annotations"]["ttft_ms"] == line["ttft_ms"]
    assert [part["name"] for part in turn["subsegments"]] == ["begin", "model", "answer", "finish"]
    for part in (turn, *turn["subsegments"]):
        assert re.fullmatch("[0-9a-f]{16}", part["id"])
        assert turn["start_time"] <= part["start_time"] <= part["end_time"] <= turn["end_time"]
    assert "private" not in json.dumps(turn)


@pytest.mark.parametrize(
    "trace_id",
    ["", SAMPLED.replace("Sampled=1", "Sampled=0"), "Root=1-2-3;Sampled=1", "nonsense;=;Sampled=1"],
)
def test_an_invocation_without_a_sampled_trace_id_is_not_traced(trace_id, monkeypatch):
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace_id)
    assert Tracer("127.0.0.1:2000").trace() is None


def test_sending_without_a_daemon_raises_nothing(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        unused = address(gone)
    tracer = Tracer(unused)
    for _ in range(3):
        tracer.send({"name": "turn"})
    tracer.close()


@pytest.mark.parametrize("tracing", ["false", "true"])
def test_the_tracing_module_is_loaded_only_if_tracing_is_on(tracing):
    program = (
        "import sys; from functions.chat_stream import app; app.app; print('shared.tracing' in sys.modules)"
    )
    environ = environment("postgresql://chat_app@127.0.0.1/chat", TRACING=tracing)
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed == f"{tracing == 'true'}\n"
