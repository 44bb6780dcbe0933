"""Which of the project's modules others import, directly or not, read from the source."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def reachable(root: Path, entries: Iterable[str]) -> list[Path]:
    """The files below `root` that importing the modules `entries` may load, their packages included.

    Imports inside functions count. Modules that are nowhere below `root` are somebody else's; that an
    entry is one of them raises ModuleNotFoundError.
    """
    entries = list(entries)
    for entry in entries:
        if _file(root, entry) is None:
            raise ModuleNotFoundError(entry)
    found: dict[Path, None] = {}
    waiting = entries
    while waiting:
        module = waiting.pop()
        path = _file(root, module)
        if path is not None and path not in found:
            found[path] = None
            waiting += imports(path)
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return sorted(found)


def imports(path: Path) -> Iterator[str]:
    """The names of modules that a file imports, and of what it takes from them, which may be modules."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise NotImplementedError(f"{path}: relative import")
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _file(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
