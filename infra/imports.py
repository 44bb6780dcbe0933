"""Finds the modules of this project that a module imports, directly or indirectly, from the source."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def reachable(root: Path, entries: Iterable[str]) -> list[Path]:
    """Returns the files below `root` that are loaded if the modules `entries` are imported.

    Includes the `__init__.py` of their packages and the imports inside functions. Ignores modules that are
    not below `root`. Raises ModuleNotFoundError if an entry is not below `root`.
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
    """Yields the names of the modules that a file imports, and the names that it imports from them, because
    these may be modules too."""
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
