from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser import TIMEOUT_MS, MonitoredBrowser, launch_browser
from tests.web.chat_page import Chat, serve_page

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with launch_browser() as running:
        yield running


@pytest.fixture
def watch(browser: Browser) -> Iterator[Callable[..., MonitoredBrowser]]:
    """Starts a monitored browser for the given origins. The test fails if a page has a fault."""
    browsers: list[MonitoredBrowser] = []

    def start(*origins: str) -> MonitoredBrowser:
        browsers.append(MonitoredBrowser(browser, *origins))
        return browsers[-1]

    yield start
    faults = [fault for monitored in browsers for fault in monitored.faults]
    for monitored in browsers:
        monitored.close()
    assert faults == []


@pytest.fixture
def serve_chat(database, mock, watch) -> Iterator[Callable[..., Chat]]:
    """Starts a server with the given settings and the chat page."""
    with ExitStack() as stack:
        yield lambda **environ: stack.enter_context(serve_page(database, mock, watch, environ))


@pytest.fixture
def chat(serve_chat: Callable[[], Chat]) -> Chat:
    return serve_chat()
