"""Finds a Python interpreter of a given version, because bytecode only works in the version that wrote it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = tuple[int, int]


def name(version: Version) -> str:
    return ".".join(map(str, version))


@cache
def find(version: Version) -> str | None:
    """Returns the path of a CPython of this version, or None if this machine has none."""
    return next((path for path in _candidates(name(version)) if _is(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    # pyenv's shims fail for versions that are installed but not selected.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    # PYENV_ROOT may be a folder of another user, which this user cannot read.
    with contextlib.suppress(OSError):
        yield from sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}")), reverse=True)
    managed = subprocess.run(
        [
            Path(sys.executable).with_name("uv"),
            "python",
            "find",
            "--managed-python",
            "--no-python-downloads",
            version,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    yield from managed.stdout.split("\n")[:1]


def _is(path: str, version: Version) -> bool:
    try:
        result = subprocess.run(
            [path, "-I", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return result.stdout.split() == ["cpython", *map(str, version)]
