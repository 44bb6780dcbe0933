from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser import PATIENCE_MS, Watched, launched

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
