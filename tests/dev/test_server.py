"""`make run` as a process: its output, its routes, its log, and its end by a signal."""

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from dev import openapi
from dev.local import ROOT

USER = uuid4()


@contextmanager
def running(database, **environ):
    command = [sys.executable, "-m", "dev.server"]
    env = {**os.environ, "PORT": "0", "DATABASE_URL": database.url, **environ}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def token(user_id, **environ):
    env = {**os.environ, "USER_ID": str(user_id), **environ}
    command = [sys.executable, "-m", "dev.token"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def ready_url(process):
    ready = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert ready
    return ready[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_printed_curl_command_works_and_a_signal_ends_the_server(database, number):
    with running(database) as process:
        url = ready_url(process)
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines[1] == f"open this page: {url}/\n"
        curl = shlex.split(lines[4])
        answer = subprocess.run(curl, capture_output=True, text=True, timeout=30, check=True).stdout
        assert 'data: {"type":"token","content":' in answer
        assert '"type":"done"' in answer.splitlines()[-2]
        process.send_signal(number)
        assert process.wait(10) == 0
    assert [row["status"] for row in database.rows("select status from messages")] == ["complete", "complete"]


def test_make_token_prints_only_a_token_and_the_server_has_the_openapi_document(database):
    with running(database) as process:
        url = ready_url(process)
        printed = token(USER)
        headers = {"authorization": f"Bearer {printed.strip()}"}
        made = httpx.post(f"{url}/api/chat/conversations", json={}, headers=headers, trust_env=False)
        document = httpx.get(f"{url}/openapi.json", trust_env=False)
    assert printed.count("\n") == 1
    assert made.json()["user_id"] == str(USER)
    assert document.content == openapi.render()


def test_no_token_no_key_and_no_message_reach_the_log(database, mock):
    provider = {"OPENAI_API_KEY": "the-providers-key", "OPENAI_BASE_URL": mock.base_url("openai")}
    with running(database, LLM_MODEL="openai/mock:500", LOG_LEVEL="DEBUG", **provider) as process:
        url = ready_url(process)
        bearer = token(USER).strip()
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        for body in (b'{"message": "a very private thought"}', b'{"message": "a very private thought'):
            httpx.post(f"{url}/chat-stream", content=body, headers=headers, trust_env=False)
        process.send_signal(signal.SIGINT)
        logged = process.stdout.read()
    assert str(USER) not in logged
    assert "upstream_error" in logged
    for secret in ("very private", bearer.split(".")[1], "the-providers-key"):
        assert secret not in logged.replace(token(USER), "")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        # The first is found when the settings are read, the second when the apps are made.
        ("HISTORY_MESSAGES", "many", "HISTORY_MESSAGES must be a whole number from 1 to 1000.\n"),
        ("JWT_SECRET", "short", "JWT_SECRET must be at least 32 bytes long.\n"),
    ],
)
def test_a_wrong_setting_is_one_sentence_without_a_traceback(database, name, value, sentence):
    with running(database, **{name: value}) as process:
        assert process.stdout.read() == sentence
        assert process.wait(10) == 2
