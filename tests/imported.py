"""What a process imported, from what an interpreter says with PYTHONVERBOSE set."""

import re
from collections.abc import Iterable
from pathlib import Path

VERBOSE = {"PYTHONVERBOSE": "1"}

_MODULE = re.compile(r"import '?([\w.]+)'? # ")
_FILE = re.compile(r"# (?:code object from|extension module '[\w.]+' loaded from) '?(/[^']+)'?")


def modules(lines: Iterable[str]) -> set[str]:
    return {said[1] for line in lines if (said := _MODULE.match(line))}


def files(lines: Iterable[str]) -> set[Path]:
    """The files that code was taken from: bytecode, compiled modules, and sources without bytecode."""
    return {Path(said[1]) for line in lines if (said := _FILE.match(line))}
