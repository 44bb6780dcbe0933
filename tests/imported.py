"""The modules and files that a Python process imported, read from its output with PYTHONVERBOSE=1."""

import re
from collections.abc import Iterable
from pathlib import Path

VERBOSE = {"PYTHONVERBOSE": "1"}

_MODULE = re.compile(r"import '?([\w.]+)'? # ")
_FILE = re.compile(r"# (?:code object from|extension module '[\w.]+' loaded from) '?(/[^']+)'?")


def modules(lines: Iterable[str]) -> set[str]:
    return {match[1] for line in lines if (match := _MODULE.match(line))}


def files(lines: Iterable[str]) -> set[Path]:
    """The files that code was loaded from: bytecode, extension modules, and sources without bytecode."""
    return {Path(match[1]) for line in lines if (match := _FILE.match(line))}
