"""Runs the examples of `docs/api.md` against a server set up as `make run` does: commands, whose output is
compared with the page, and programs in Python and JavaScript. React examples are not run."""

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
# Ids, times, and the length of the system prompt.
CHANGING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<=\"created\":)17\d{8}|(?<=\"prompt_tokens\":)\d+|(?<=\"total_tokens\":)\d+"
)


def examples(*languages):
    found = [(language, text) for language, text in BLOCKS if language in languages]
    return pytest.mark.parametrize("text", [text for _, text in found], ids=range(len(found)))


@pytest.fixture
def run(database, tmp_path):
    """A function that runs a command with `text` on its standard input. The variable TOKEN holds a token and
    MESSAGE the id of an answer."""
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
        (tmp_path / "extra-openai-models.yaml").write_text(with_server(url, llm[1]))

        def run(command, text, cwd=ROOT):
            if "$MESSAGE" in text:
                asked = client.post("/chat-stream", json={"message": QUESTION})
                environ["MESSAGE"] = asked.headers["x-message-id"]
            if "llm " in text:
                key = ["llm", "keys", "set", "coach", "--value", token(user)]
                subprocess.run(key, env=environ, check=True)
            done = subprocess.run(
                command,
                input=with_server(url, text),
                cwd=cwd,
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            return done.stdout

        yield run


def with_server(url, text):
    return text.replace("http://127.0.0.1:8787", url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@examples("console")
def test_a_command_prints_the_output_on_the_page(run, text):
    for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, expected = entry.split("\n", 1)
        printed = CHANGING.sub("<changing>", run(["bash", "-s"], command)).strip()
        pieces = [re.escape(piece.strip()) for piece in CHANGING.sub("<changing>", expected).split("\n…\n")]
        assert re.fullmatch(r"\n.*\n".join(pieces), printed, re.DOTALL), printed


@examples("python")
def test_a_python_program_prints_the_answer(run, text):
    assert QUESTION in run([sys.executable, "-W", "error", "-"], text)


@node.needs_node
@node.needs_packages
@examples("js")
def test_a_javascript_program_prints_the_answer(run, text):
    program = text.replace("./chat-client.js", (ROOT / "web/chat-client.js").as_uri())
    assert QUESTION in run(["node", "--input-type=module", "-"], program, cwd=node.FOLDER)


def test_the_page_has_an_example_in_each_language():
    assert {language for language, _ in BLOCKS} == {"console", "js", "jsx", "python", "yaml"}
