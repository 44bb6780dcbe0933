"""A real browser for tests: Debian's chromium, controlled by Playwright, and checks of what a page does.

Playwright's synchronous API keeps an event loop running in its thread, so tests with asyncio cannot run while
a browser is open. Therefore the browser is a fixture of this package and is closed after its last test.
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
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)
# Long enough for a slow machine with four browsers on two cores.
TIMEOUT_MS = 90_000
_ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # Blocks all other connections.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]


@contextmanager
def launch_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class MonitoredBrowser:
    """Opens browser contexts and records in `faults` what a page must not do: throw, log an error, break its
    content security policy, or send a request to another origin than the given ones."""

    def __init__(self, browser: Browser, *origins: str) -> None:
        self.faults: list[str] = []
        self._browser = browser
        self._origins = set(origins)
        self._contexts: list[BrowserContext] = []

    def context(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**{"locale": "en-US", **options})
        context.set_default_timeout(TIMEOUT_MS)
        context.set_default_navigation_timeout(TIMEOUT_MS)
        context.on("weberror", self._on_error)
        context.on("console", self._on_console)
        context.on("request", self._on_request)
        self._contexts.append(context)
        return context

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()

    def _on_error(self, error: WebError) -> None:
        self.faults.append(f"uncaught: {error.error}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser logs each failed request, also if the page handles the failure.
        if message.type == "error" and not message.text.startswith("Failed to load resource: "):
            self.faults.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" not in self._origins:
            self.faults.append(f"request: {request.url}")
