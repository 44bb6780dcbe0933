"""A real browser for tests: Debian's chromium, driven by Playwright, watched for what no page may do.

Playwright's synchronous API keeps an event loop running in its thread, where no test that uses asyncio can
run. So the browser belongs to this package, and ends with the last of its tests that a worker has.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request, WebError, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not on this machine: apt-get install chromium"
)
# A slow machine with four browsers on two cores is no reason to fail.
PATIENCE_MS = 90_000
_ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # What leaves in spite of all ends here.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """Opens contexts and writes down in `faults` what no page may do: throw, log an error, break its own
    content policy, or speak to anybody but the origins it is given."""

    def __init__(self, browser: Browser, *origins: str) -> None:
        self.faults: list[str] = []
        self._browser = browser
        self._origins = set(origins)
        self._contexts: list[BrowserContext] = []

    def context(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**{"locale": "en-US", **options})
        context.set_default_timeout(PATIENCE_MS)
        context.set_default_navigation_timeout(PATIENCE_MS)
        context.on("weberror", self._threw)
        context.on("console", self._logged)
        context.on("request", self._asked)
        self._contexts.append(context)
        return context

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()

    def _threw(self, error: WebError) -> None:
        self.faults.append(f"uncaught: {error.error}")

    def _logged(self, message: ConsoleMessage) -> None:
        # That a request was refused or cut is logged by the browser, whatever the page makes of it.
        if message.type == "error" and not message.text.startswith("Failed to load resource: "):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" not in self._origins:
            self.faults.append(f"request: {request.url}")
