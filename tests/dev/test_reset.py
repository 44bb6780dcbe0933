"""`make reset` removes a database, and refuses while a process uses it."""

import signal
import subprocess
import sys

import psutil  # type: ignore[import-untyped]
import pytest

from dev import postgres
from dev.local import ROOT
from dev.postgres import ServerInUse
from tests.database import cluster_folder

# Starts the server of a folder, prints a line, and waits for the end of its input.
PROGRAM = """
import sys
from pathlib import Path
from dev import postgres
postgres.start(Path(sys.argv[1]))
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder():
    with cluster_folder() as made:
        yield made


@pytest.fixture
def user(folder):
    """A process that uses the server, like `make run`."""
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    yield process
    process.kill()
    process.communicate()


def test_a_database_in_use_is_not_removed(folder, user):
    with pytest.raises(ServerInUse, match="stop it first"):
        postgres.remove(folder)
    assert (folder / "PG_VERSION").exists()
    user.communicate("")
    postgres.remove(folder)
    assert not folder.exists()


def test_a_server_whose_user_was_killed_is_stopped_and_removed(folder, user):
    server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    user.send_signal(signal.SIGKILL)
    user.wait()
    postgres.remove(folder)
    assert not folder.exists()
    # Without a parent that waits for it, an ended process is a zombie.
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_missing_folder_is_no_error(folder):
    postgres.remove(folder)
