"""Runs tests that are written in JavaScript: a file of `tests/web`, with Node's own test runner.

They need Node 20 or newer, and some of them packages, which `make test` installs where npm is.
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
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)))


needs_node = pytest.mark.skipif(_version() < _OLDEST, reason="Node 20.3 or newer is not on this machine")
needs_packages = pytest.mark.skipif(
    not (FOLDER / "node_modules/.ready").exists(), reason="tests/web has no packages: make test installs them"
)


def run(file: str, **environ: str) -> None:
    """Fails with Node's report if a test of the file does, or if there is none in it."""
    command = ["node", "--test", "--test-reporter=spec", "--test-timeout=120000", file]
    env = {**os.environ, **environ}
    done = subprocess.run(
        command, check=False, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=300
    )
    if done.returncode or " pass 0\n" in done.stdout:
        pytest.fail(f"{file}\n{done.stdout}{done.stderr}", pytrace=False)
