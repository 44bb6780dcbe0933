"""Screenshots and accessibility checks of every state of the page, in both themes, on a phone and on a wide
screen."""

from typing import Literal

import pytest
from playwright.sync_api import Page, ViewportSize

from dev.local import ROOT
from tests.web import node
from tests.web.browser import needs_chromium
from tests.web.states import STATES, reach

pytestmark = [needs_chromium, node.needs_packages]

PICTURES = ROOT / ".local/screenshots"
WIDE: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 380, "height": 740}
AXE = node.FOLDER / "node_modules/axe-core/axe.min.js"


def violations(page: Page) -> list[str]:
    """The violations that axe-core finds, without those that it is not sure of."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def picture(page: Page, name: str, theme: Literal["light", "dark"], size: ViewportSize) -> None:
    """Takes a screenshot, and checks that the page is not wider than the screen."""
    page.emulate_media(color_scheme=theme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name.replace(' ', '-')}-{theme}-{size['width']}.png"
    page.screenshot(path=path, animations="disabled")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pytest.mark.parametrize("name", STATES)
def test_each_state_is_accessible_and_fits_the_screen(serve_chat, name):
    tab = reach(name, serve_chat, viewport=WIDE, reduced_motion="reduce")
    picture(tab.page, name, "light", WIDE)
    wrong = violations(tab.page)
    picture(tab.page, name, "dark", WIDE)
    tab.page.set_viewport_size(PHONE)
    if STATES[name].in_sidebar:
        tab.open_sidebar()
    picture(tab.page, name, "light", PHONE)
    picture(tab.page, name, "dark", PHONE)
    wrong += violations(tab.page)
    assert wrong == []


def test_axe_finds_violations(serve_chat):
    page = reach("conversation", serve_chat).page
    page.evaluate("document.querySelector('#message').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('#message').removeAttribute('placeholder')")
    page.evaluate("[...document.querySelectorAll('.markdown p')].at(-1).style.color = '#ccc'")
    rules = {violation.partition(":")[0] for violation in violations(page)}
    assert rules == {"label", "color-contrast"}
