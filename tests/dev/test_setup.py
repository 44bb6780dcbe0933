"""The first set-up, and the commands that start servers: interrupts, two at once, a path with a space, a port
that is in use, and an edited migration.

The commands run in copies of the checkout. The set-ups install a `uv` that only writes down its arguments.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from dev.local import ROOT

COPIED = ("Makefile", "pyproject.toml", "dev", "functions", "migrations", "requirements", "shared", "web")
# It waits while the file `wait` exists.
UV = """
import pathlib, sys, time
def main():
    while pathlib.Path("wait").exists():
        time.sleep(0.02)
    with open("calls", "a") as calls:
        print(*sys.argv[1:3], file=calls)
"""


@pytest.fixture
def checkout():
    """A copy of the checkout, in a path with spaces, with the environment of this one."""
    with tempfile.TemporaryDirectory(prefix="my check out ", ignore_cleanup_errors=True) as folder:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy2(ROOT / name, folder)
        (Path(folder) / ".venv").symlink_to(ROOT / ".venv")
        yield Path(folder)


@contextmanager
def make(checkout, *arguments, **environ):
    """`make`, in a session of its own, as in a terminal."""
    names = {"DATABASE_URL", "MIGRATION_DATABASE_URL", "JWT_SECRET", "PORT", "MAKEFLAGS", "MAKELEVEL"}
    env = {name: value for name, value in os.environ.items() if name not in names}
    with subprocess.Popen(
        ["make", "--silent", *arguments],
        cwd=checkout,
        env={**env, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


def output_of(checkout, *arguments, **environ):
    """The lines that a command prints, without those of make itself."""
    with make(checkout, *arguments, **environ) as process:
        lines = process.communicate(timeout=60)[0].splitlines()
    return [line for line in lines if not line.startswith("make:")]


def read_until(process, text):
    lines = []
    for line in process.stdout:
        if text in line:
            return
        lines.append(line)
    pytest.fail(f"the command ended before it printed {text!r}:\n{''.join(lines)}")


def postgres_of(checkout):
    """The process of the local database."""
    return psutil.Process(int((checkout / ".local/postgres/postmaster.pid").read_text().split()[0]))


def has_ended(process):
    # Without a parent that waits for it, an ended process is a zombie.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("number", "receiver"),
    [
        (signal.SIGINT, os.killpg),  # Ctrl-C
        (signal.SIGHUP, os.killpg),  # the terminal is closed
        (signal.SIGTERM, os.kill),  # to make alone
    ],
    ids=["SIGINT", "SIGHUP", "SIGTERM"],
)
def test_a_signal_to_make_run_leaves_no_server_and_no_postgres(checkout, number, receiver):
    with make(checkout, "run", "PORT=0") as process:
        read_until(process, "Ctrl-C stops it.")
        postgres = postgres_of(checkout)
        [server] = [child for child in psutil.Process(process.pid).children() if "python" in child.name()]
        receiver(process.pid, number)
        assert process.stdout.read() == ""
    assert has_ended(server)
    assert has_ended(postgres)


def test_after_a_killed_server_the_next_one_stops_postgres(checkout):
    with make(checkout, "run", "PORT=0") as process:
        read_until(process, "Ctrl-C stops it.")
        postgres = postgres_of(checkout)
        os.killpg(process.pid, signal.SIGKILL)
    assert not has_ended(postgres)
    with make(checkout, "run", "PORT=0") as process:
        read_until(process, "Ctrl-C stops it.")
        assert postgres_of(checkout) == postgres
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
    assert has_ended(postgres)


def test_an_interrupt_while_the_server_starts_leaves_no_postgres_and_no_traceback(checkout):
    for seconds in (0.2, 0.8, 1.6):
        with make(checkout, "run", "PORT=0") as process:
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            assert "Traceback" not in process.stdout.read()
        assert not (checkout / ".local/postgres/postmaster.pid").exists()


def test_changed_migrations_are_one_sentence_that_names_make_reset(checkout):
    with make(checkout, "run", "PORT=0") as process:
        read_until(process, "Ctrl-C stops it.")
        os.killpg(process.pid, signal.SIGINT)
    [*_, migration] = sorted((checkout / "migrations").glob("0*.sql"))
    text = migration.read_text()
    for change in (lambda: migration.write_text(text + "-- edited\n"), migration.unlink):
        change()
        [sentence] = output_of(checkout, "run", "PORT=0")
        assert sentence.startswith(f"{migration.name}: ")
        assert sentence.count("make reset") == 1
    assert output_of(checkout, "reset") == ["the local database and files are removed"]
    assert not (checkout / ".local/postgres").exists()


@pytest.mark.parametrize("command", ["run", "lambda", "mock-llm"])
def test_a_port_that_is_in_use_or_no_number_is_one_sentence_that_names_port(checkout, command):
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        [sentence] = output_of(checkout, command, PORT=str(number))
    assert sentence.startswith(f"Port {number} is in use: ")
    assert "another PORT" in sentence
    for text in ("eight", "70000"):
        [sentence] = output_of(checkout, command, PORT=text)
        assert sentence.startswith("PORT must be a number from 0 to 65535")


def test_the_folder_of_an_interrupted_initdb_is_made_again(checkout):
    unfinished = checkout / ".local/postgres.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with make(checkout, "run", "PORT=0") as process:
        read_until(process, "Ctrl-C stops it.")
        os.killpg(process.pid, signal.SIGINT)
    assert not unfinished.exists()


def wheel(folder, name, text):
    """A wheel with one module, and a command of the same name. Returns its line in a lock file."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name} @ {path.as_uri()} --hash=sha256:{digest}\n"


@pytest.fixture
def empty():
    """A checkout without an environment, whose set-up needs no network."""
    with tempfile.TemporaryDirectory(prefix="empty check out ", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        (folder / "requirements").mkdir()
        (folder / "dev").mkdir()
        for name in ("__init__.py", "command.py", "environments.py"):
            shutil.copy2(ROOT / "dev" / name, folder / "dev")
        shutil.copy2(ROOT / "Makefile", folder)
        (folder / "requirements/uv.txt").write_text(wheel(folder, "uv", UV))
        (folder / "requirements/dev.txt").write_text("sample\n")
        yield folder
        (folder / "wait").unlink(missing_ok=True)


def set_up(folder, **environ):
    return make(folder, "setup", f"PYTHON={sys.executable}", **environ)


@pytest.mark.parametrize(("stage", "number"), [("1 of 3", signal.SIGINT), ("3 of 3", signal.SIGKILL)])
def test_the_set_up_after_an_interrupted_one_completes_the_environment(empty, stage, number):
    (empty / "wait").touch()
    with set_up(empty) as process:
        read_until(process, stage)
        if number == signal.SIGKILL:
            [child] = psutil.Process(process.pid).children()
            child.kill()
        os.killpg(process.pid, number)
        if number == signal.SIGINT:
            assert "Traceback" not in process.stdout.read()
    assert not (empty / ".venv/ready").exists()
    (empty / "wait").unlink()
    lines = output_of(empty, "setup", f"PYTHON={sys.executable}")
    if stage == "3 of 3":
        assert lines[0] == "removing .venv, which is not complete"
    assert lines[-1].startswith(".venv is ready")
    assert (empty / "calls").read_text().endswith("pip sync\n")


def test_of_two_set_ups_at_once_the_second_waits_and_has_nothing_to_do(empty):
    (empty / "wait").touch()
    with set_up(empty) as first:
        read_until(first, "1 of 3")
        with set_up(empty) as second:
            read_until(second, "another set-up works on .venv")
            (empty / "wait").unlink()
            assert second.stdout.read() == ""
            assert second.wait() == first.wait() == 0
    assert (empty / "calls").read_text() == "pip sync\n"
    assert output_of(empty, "setup", f"PYTHON={sys.executable}") == []
    # The Python of the environment is gone, as after an upgrade of the machine's Python.
    (empty / ".venv/bin/python").unlink()
    with set_up(empty) as process:
        read_until(process, "removing .venv")


def test_a_failing_venv_is_one_sentence_that_names_debians_package(empty):
    """Debian without python3-venv creates a part of the folder and fails."""
    module = empty / "modules/venv"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "__main__.py").write_text("import os; os.makedirs('.venv/bin'); print('no pip'); exit(1)")
    lines = output_of(empty, "setup", f"PYTHON={sys.executable}", PYTHONPATH=str(module.parent))
    assert lines[0].startswith("set-up, 1 of 3")
    assert lines[1].startswith("Python cannot create a virtual environment.")
    assert "apt install python3-venv" in lines[1]
    assert len(lines) == 2
