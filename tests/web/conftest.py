from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser import PATIENCE_MS, Watched, launched
from tests.web.chat_page import Chat, served_chat

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with launched() as running:
        yield running


@pytest.fixture
def watch(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Contexts that may speak to the given origins; the test fails if a page of theirs did what none may."""
    watched: list[Watched] = []

    def start(*origins: str) -> Watched:
        watched.append(Watched(browser, *origins))
        return watched[-1]

    yield start
    faults = [fault for one in watched for fault in one.faults]
    for one in watched:
        one.close()
    assert faults == []


@pytest.fixture
def serve_chat(database, mock, watch) -> Iterator[Callable[..., Chat]]:
    """A chat whose server has the given settings."""
    with ExitStack() as stack:
        yield lambda **environ: stack.enter_context(served_chat(database, mock, watch, environ))


@pytest.fixture
def chat(serve_chat: Callable[[], Chat]) -> Chat:
    return serve_chat()
