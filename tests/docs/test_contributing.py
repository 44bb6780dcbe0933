"""Applies the examples of CONTRIBUTING.md to a copy of the code and runs them."""

import re
import shutil
import subprocess
import sys

import pytest

from dev.local import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
USE = """
import sys
from uuid import uuid4

from dev.openapi import document
from functions.chat_stream.prompt.build_prompt import build_prompt
from functions.chat_stream.records import HistoryLimits, StartedTurn
from functions.chat_stream.request import TurnRequest
from shared.llm.wire_format import ChatMessage
from tests.serving import Client, serve, settings

app_settings = settings(sys.argv[1], TOGETHER_API_KEY="key", LLM_MODEL="scripted/echo")
print(app_settings.providers["together"].base_url)

with serve(app_settings) as url, Client(url, uuid4()) as client:
    lines = client.post("/v1/lines", json={"message": "How do I sleep better?"})
    print(lines.status_code, lines.text.splitlines()[0][:7])
    created = client.post("/api/chat/conversations", json={"title": "Sleep"}).json()
    print(client.get(f"/api/chat/conversations/{created['id']}/title").text)
print(*(path for path in document()["paths"] if path.endswith(("/lines", "/title"))))

started = StartedTurn(user_id=uuid4(), answer_id=uuid4())
request = TurnRequest(messages=(ChatMessage(role="user", content="Hello"),))
print(build_prompt(request, started, "You are kind.", HistoryLimits(20, 10, 10**6)).system)
"""


def section(title):
    """The text of a section, and its Python block."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    [found] = [part for part in text if part.startswith(f"{title}\n")]
    return found, re.findall(r"^```python\n(.*?)^```", found, re.MULTILINE | re.DOTALL)[0]


def path_of_new_file(text):
    [path] = re.findall(r"New file `([^`]+)`", text)
    return path


def replace(file, old, new):
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} in {file}"
    file.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the code with the four examples in it."""
    for name in ("functions", "shared", "migrations", "dev", "tests", "docs"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    _, row = section("Add a provider")
    replace(
        tmp_path / "shared/llm/providers.py",
        "    # Answered in this process",
        f"{row.rstrip()},\n    # Answered in this process",
    )

    text, module = section("Add a dialect")
    (tmp_path / path_of_new_file(text)).write_text(module, "utf-8")
    registry = tmp_path / "functions/chat_stream/dialects/__init__.py"
    replace(registry, "\n)\n", "\n    LinesDialect(),\n)\n")
    imported = "from functions.chat_stream.dialects.lines import LinesDialect\n"
    registry.write_text(imported + registry.read_text("utf-8"), "utf-8")

    _, handler = section("Add an endpoint")
    replace(
        tmp_path / "functions/conversations/conversations_routes.py",
        "\n\ndef _changes(",
        f"\n{handler}\n\ndef _changes(",
    )

    text, module = section("Add a step before the model")
    (tmp_path / path_of_new_file(text)).write_text(module, "utf-8")
    build = tmp_path / "functions/chat_stream/prompt/build_prompt.py"
    [call] = re.findall(r"`(system=short_answers\(.*?)`", text)
    replace(build, "system=system or None", call)
    imported = "from functions.chat_stream.prompt.short_answers import short_answers\n"
    build.write_text(imported + build.read_text("utf-8"), "utf-8")
    return tmp_path


def test_the_examples_work(checkout, database):
    done = subprocess.run(
        [sys.executable, "-c", USE, database.url], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if not line.startswith('{"level"')]
    assert printed == [
        "https://api.together.xyz/v1",
        '200 data: "',
        "Sleep",
        "/v1/lines /api/chat/conversations/{id}/title",
        "You are kind.",
        "",
        "Answer in at most three sentences.",
    ]
