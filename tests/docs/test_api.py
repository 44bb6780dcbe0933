"""Runs the examples of `docs/api.md` against a server set up as `make run` does: commands, whose output is
compared with the page, and programs in Python and JavaScript. React examples are not run.

The examples run once, in the order of the page, and within the rate limits of a server with default settings.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.local import ROOT
from tests.serving import SECRET, serve, settings
from tests.web import node

PAGE = (ROOT / "docs/api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTION = "I want to sleep better"
# Ids, times, and the length of the system prompt.
CHANGING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<=\"created\":)17\d{8}|(?<=\"prompt_tokens\":)\d+|(?<=\"total_tokens\":)\d+"
)


class Shell:
    """Runs commands and programs. The variables that a command sets stay for the next ones."""

    def __init__(self, url, folder):
        self._url = url
        self._variables = folder / "variables.sh"
        self._variables.touch()
        self._environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "JWT_SECRET": SECRET,
            "LLM_USER_PATH": str(folder),
            # Those of `make test` would reach the `make` of the page.
            "MAKEFLAGS": "",
        }
        [models] = [text for language, text in BLOCKS if language == "yaml"]
        (folder / "extra-openai-models.yaml").write_text(self._with_server(models))

    def run(self, command):
        """The output of a shell command."""
        lines = f"set -a\n. {self._variables}\n{command}\nexport -p > {self._variables}"
        return self._output(["bash", "-c", self._with_server(lines)])

    def run_program(self, interpreter, text, cwd=ROOT):
        """The output of a program."""
        program = ["bash", "-c", f'. {self._variables}; exec "$@"', "-", *interpreter]
        return self._output(program, text=self._with_server(text), cwd=cwd)

    def _output(self, command, text="", cwd=ROOT):
        done = subprocess.run(
            command, input=text, cwd=cwd, env=self._environ, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    def _with_server(self, text):
        return text.replace("http://127.0.0.1:8787", self._url)


def check_commands(shell, text):
    """Each command prints what the page shows below it."""
    for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, expected = entry.split("\n", 1)
        printed = CHANGING.sub("<changing>", shell.run(command)).strip()
        pieces = [re.escape(piece.strip()) for piece in CHANGING.sub("<changing>", expected).split("\n…\n")]
        assert re.fullmatch(r"\n.*\n".join(pieces), printed, re.DOTALL), f"{command}\n{printed}"


def check_python(shell, text):
    assert QUESTION in shell.run_program([sys.executable, "-W", "error", "-"], text), text


def check_javascript(shell, text):
    program = text.replace("./chat-client.js", (ROOT / "web/chat-client.js").as_uri())
    answer = shell.run_program(["node", "--input-type=module", "-"], program, cwd=node.FOLDER)
    assert QUESTION in answer, text


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@node.needs_node
@node.needs_packages
def test_the_examples_run_in_order_within_the_default_rate_limits(database, tmp_path):
    checks = {"console": check_commands, "python": check_python, "js": check_javascript}
    default = settings(database.url).rate_limit_chat
    # A window of an hour, so that a slow machine allows no more turns than a fast one.
    limit = f"{default.requests}/3600"
    configured = settings(database.url, ALLOW_ANONYMOUS="true", RATE_LIMIT_CHAT=limit)
    with serve(configured) as url:
        shell = Shell(url, tmp_path)
        for language, text in BLOCKS:
            if language in checks:
                checks[language](shell, text)


def test_the_page_has_an_example_in_each_language():
    assert {language for language, _ in BLOCKS} == {"console", "js", "jsx", "python", "yaml"}
