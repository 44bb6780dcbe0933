"""Runs tests in JavaScript: files in `tests/web`, with Node's test runner.

The tests need Node 20.3 or newer. Some tests need packages, which `make test` installs if npm is installed.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
_OLDEST = (20, 3)


def _version() -> tuple[int, ...]:
    node = shutil.which("node")
    if node is None:
        return ()
    output = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", output)))


needs_node = pytest.mark.skipif(_version() < _OLDEST, reason="Node 20.3 or newer is not installed")
needs_packages = pytest.mark.skipif(
    not (FOLDER / "node_modules/.ready").exists(),
    reason="the packages of tests/web are not installed: run make test",
)


def run(file: str, **environ: str) -> None:
    """Fails with Node's report if a test in the file fails, or if the file has no tests."""
    command = ["node", "--test", "--test-reporter=spec", "--test-timeout=120000", file]
    env = {**os.environ, **environ}
    done = subprocess.run(
        command, check=False, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=300
    )
    if done.returncode or " pass 0\n" in done.stdout:
        pytest.fail(f"{file}\n{done.stdout}{done.stderr}", pytrace=False)
