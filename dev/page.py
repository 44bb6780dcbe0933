"""Serves the files of the chat page: the folder `web/`, with the headers in `web/headers.json`.

Each request reads its file, so that a reload of the page shows an edited file. An unchanged file is a 304.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.local import ROOT
from shared.asgi import Send

_FOLDER = ROOT / "web"
# Other files in the folder are not served.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def files(folder: Path) -> dict[str, Path]:
    """The files that are served, by URL path without the leading slash."""
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in TYPES and path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


@dataclass(frozen=True)
class File:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Page:
    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder

    def find(self, method: str, path: str, header: Callable[[str], str]) -> File | None:
        """The response to a request, or None if the page has no such file.

        `header` returns the value of a request header by its lower-case name, or an empty string.
        """
        if method not in {"GET", "HEAD"}:
            return None
        # The path is only compared with the names of existing files, so that it cannot leave the folder.
        found = files(self._folder).get("index.html" if path == "/" else path.removeprefix("/"))
        if found is None:
            return None
        body = found.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = [
            ("Content-Type", TYPES[found.suffix]),
            ("ETag", tag),
            *json.loads((self._folder / "headers.json").read_text("utf-8")).items(),
        ]
        if tag in header("if-none-match"):
            return File(304, headers, b"")
        return File(200, headers, body)


async def send_file(file: File, send: Send) -> None:
    """Sends a file over ASGI. For a HEAD request the server omits the body."""
    headers = [(name.lower().encode(), value.encode()) for name, value in file.headers]
    if file.status == 200:
        headers.append((b"content-length", str(len(file.body)).encode()))
    await send({"type": "http.response.start", "status": file.status, "headers": headers})
    await send({"type": "http.response.body", "body": file.body})
