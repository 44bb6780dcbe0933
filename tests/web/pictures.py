"""`make screenshots`: takes the two screenshots of the README."""

import logging
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg

from dev import postgres
from dev.local import ROOT
from dev.mock_llm import mock_llm_process
from migrations import migrate
from tests.database import TestDatabase
from tests.web.browser import CHROMIUM, MonitoredBrowser, launch_browser
from tests.web.chat_page import Chat, serve_page
from tests.web.states import reach

FOLDER = ROOT / "docs/images"
PICTURES = {
    "page-light.png": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"},
    "page-dark.png": {"viewport": {"width": 380, "height": 740}, "color_scheme": "dark"},
}


def main() -> int:
    if CHROMIUM is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    logging.disable()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True))
        server = postgres.start(Path(folder) / "data")
        stack.callback(server.stop)
        migrate.apply(server.url(postgres.OWNER))
        mock = stack.enter_context(mock_llm_process())
        browser = stack.enter_context(launch_browser())

        def serve_chat(**environ: str) -> Chat:
            name = f"picture_{uuid4().hex}"
            with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                connection.execute(
                    f"create database {name} template {postgres.DATABASE} owner {postgres.OWNER}".encode()
                )
            database = TestDatabase(server, name)
            return stack.enter_context(
                serve_page(database, mock, partial(MonitoredBrowser, browser), environ)
            )

        for name, options in PICTURES.items():
            page = reach("picture", serve_chat, **options).page
            page.screenshot(path=FOLDER / name, animations="disabled")
            page.locator("#stop").click()  # otherwise the server would wait for the end of the answer
            print(f"docs/images/{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
