"""What `docs/api.md` shows is run as it stands there, against a server that is set up as `make run` does:
commands with their output, and programs in Python and JavaScript. Its React is for the AI SDK's own tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from dev.local import ROOT
from tests.serving import Client, serve, settings, token
from tests.web import node

PAGE = (ROOT / "docs/api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTION = "I want to sleep better"
# Ids, moments, and how long the deployment's own prompt is.
CHANGING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<=\"created\":)17\d{8}|(?<=\"prompt_tokens\":)\d+|(?<=\"total_tokens\":)\d+"
)


def examples(*languages):
    found = [(language, text) for language, text in BLOCKS if language in languages]
    return pytest.mark.parametrize("text", [text for _, text in found], ids=range(len(found)))


@pytest.fixture
def run(database, tmp_path):
    """Runs a command with `text` on its input, as somebody with a token and an answered question would."""
    user = uuid4()
    llm = re.search(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert llm is not None
    with serve(settings(database.url)) as url, Client(url, user) as client:
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TOKEN": token(user),
            "LLM_USER_PATH": str(tmp_path),
        }
        (tmp_path / "extra-openai-models.yaml").write_text(at(url, llm[1]))

        def run(command, text, cwd=ROOT):
            if "$MESSAGE" in text:
                asked = client.post("/chat-stream", json={"message": QUESTION})
                environ["MESSAGE"] = asked.headers["x-message-id"]
            if "llm " in text:
                key = ["llm", "keys", "set", "coach", "--value", token(user)]
                subprocess.run(key, env=environ, check=True)
            done = subprocess.run(
                command,
                input=at(url, text),
                cwd=cwd,
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            return done.stdout

        yield run


def at(url, text):
    return text.replace("http://127.0.0.1:8787", url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@examples("console")
def test_a_command_prints_what_the_page_says(run, text):
    for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, expected = entry.split("\n", 1)
        printed = CHANGING.sub("<changing>", run(["bash", "-s"], command)).strip()
        pieces = [re.escape(piece.strip()) for piece in CHANGING.sub("<changing>", expected).split("\n…\n")]
        assert re.fullmatch(r"\n.*\n".join(pieces), printed, re.DOTALL), printed


@examples("python")
def test_a_program_in_python_prints_the_answer(run, text):
    assert QUESTION in run([sys.executable, "-W", "error", "-"], text)


@node.needs_node
@node.needs_packages
@examples("js")
def test_a_program_in_javascript_prints_the_answer(run, text):
    program = text.replace("./chat-client.js", (ROOT / "web/chat-client.js").as_uri())
    assert QUESTION in run(["node", "--input-type=module", "-"], program, cwd=node.FOLDER)


def test_the_page_has_an_example_of_each():
    assert {language for language, _ in BLOCKS} == {"console", "js", "jsx", "python", "yaml"}
