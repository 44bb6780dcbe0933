"""`make setup`: the virtual environments, `.venv` and one `.venv-NAME` for each of some lock files.

The Python of the machine runs this module, so it imports only the standard library. An environment is
complete when it has the file `ready`, which is written last: an interrupted set-up leaves none, and the next
one begins again. One process at a time works on an environment. The kernel releases the lock when the process
and the programs that it started have ended.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.command import CommandError, run

_MAIN = Path(".venv")
_UV = _MAIN / "bin/uv"
_UV_FILE = Path("requirements/uv.txt")
# Their packages are compiled: `make bench` measures how fast they start.
_COMPILED = {".venv", ".venv-chat_stream", ".venv-litellm"}


def main() -> int:
    """Makes or updates the environment that the first argument names."""
    folder = Path(sys.argv[1])
    try:
        with _only_one(folder) as lock:
            if not _is_current(folder):
                _Setup(folder, lock).make()
            _stamp(folder)
    except KeyboardInterrupt:
        raise CommandError("The set-up was interrupted. The next one begins again.") from None
    return 0


class _Setup:
    """Runs the programs that fill an environment. They share the lock."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._python = folder / "bin/python"

    def make(self) -> None:
        started = time.monotonic()
        if _ready(self._folder).exists() and self._python.exists():
            _ready(self._folder).unlink()
        else:
            self._remove()
        if self._folder == _MAIN:
            self._make_main()
        else:
            self._make_other()
        _say(f"{self._folder} is ready, after {time.monotonic() - started:.0f} seconds")

    def _make_main(self) -> None:
        if not self._python.exists():
            _say(f"set-up, 1 of 3: a virtual environment of Python {platform.python_version()} in .venv")
            self._create_venv()
        if not _UV.exists():
            _say("set-up, 2 of 3: uv, which installs the packages (20 MB)")
            options = ("--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes")
            self._install(self._python, "-m", "pip", "install", *options, "-r", _UV_FILE)
        _say(
            "set-up, 3 of 3: the packages, with Postgres (200 MB to download, 900 MB on disk; 1 to 3 minutes)"
        )
        self._sync()

    def _make_other(self) -> None:
        _say(f"set-up: the packages of {self._folder}")
        if not self._python.exists():
            self._install(_UV, "venv", "--quiet", "--python", _MAIN / "bin/python", self._folder)
        self._sync()

    def _sync(self) -> None:
        options: list[str | Path] = ["--quiet", "--python", self._python, "--require-hashes"]
        if self._folder.name in _COMPILED:
            options.append("--compile-bytecode")
        self._install(_UV, "pip", "sync", *options, *_requirements(self._folder))

    def _create_venv(self) -> None:
        done = self._run([sys.executable, "-m", "venv", self._folder], stdout=subprocess.DEVNULL)
        if done:
            raise CommandError(
                "Python cannot create a virtual environment. On Debian and Ubuntu its package is missing:"
                f" sudo apt install python3-venv (or python{sys.version_info[0]}.{sys.version_info[1]}-venv)."
            )

    def _install(self, *arguments: "str | Path") -> None:
        if self._run(arguments):
            raise CommandError(
                "The packages cannot be installed, for the reason above. Run the command again when that is"
                " mended, for instance when the network is back."
            )

    def _run(self, arguments: "Sequence[str | Path]", stdout: "int | None" = None) -> int:
        # A group of its own, so that an interrupt ends the programs that this one starts, too.
        with subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=stdout, pass_fds=(self._lock,), process_group=0
        ) as process:
            try:
                return process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def _remove(self) -> None:
        if not self._folder.exists() and not self._folder.is_symlink():
            return
        _say(f"removing {self._folder}, which is not complete")
        try:
            shutil.rmtree(self._folder)
        except OSError as error:
            raise CommandError(
                f"{self._folder} cannot be removed ({error.strerror}): remove it, and run the command again."
            ) from None


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    """Waits until no other process works on the environment. Gives the descriptor of the lock."""
    path = folder.resolve()
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another set-up works on {folder}: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _requirements(folder: Path) -> list[Path]:
    if folder == _MAIN:
        return [_UV_FILE, Path("requirements/dev.txt")]
    return [Path("requirements") / f"{folder.name.removeprefix('.venv-')}.txt"]


def _ready(folder: Path) -> Path:
    return folder / "ready"


def _digest(folder: Path) -> str:
    """SHA-256 of the lock files, as hex."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in _requirements(folder))).hexdigest()


def _is_current(folder: Path) -> bool:
    try:
        stamp = _ready(folder).read_text("utf-8")
    except FileNotFoundError:
        return False
    return stamp == _digest(folder) and (folder / "bin/python").exists()


def _stamp(folder: Path) -> None:
    """Writes the file `ready`, newer than the lock files: `make` compares the times."""
    new = folder / "ready.new"
    new.write_text(_digest(folder), "utf-8")
    new.replace(_ready(folder))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
