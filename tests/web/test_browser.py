"""The test browser detects faults of a page."""

import pytest

from tests.web.browser import MonitoredBrowser, needs_chromium

pytestmark = needs_chromium

ORIGIN = "http://127.0.0.1:9"
PAGE = "<!doctype html><title>A page</title><body></body>"


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("setTimeout(() => { throw new Error('a bug') })", "uncaught: a bug"),
        ("Promise.reject(new Error('a bug'))", "uncaught: a bug"),
        ("console.error('not well')", "console: not well"),
        (
            "document.body.innerHTML = '<img src=x onerror=alert()>'",
            "console: Executing inline event handler",
        ),
        ("document.body.innerHTML = '<img src=http://elsewhere.example/x>'", "console: Loading the image"),
        ("fetch('http://127.0.0.1:10/x').catch(() => 0)", "request: http://127.0.0.1:10/x"),
        ("location = 'http://elsewhere.example/'", "request: http://elsewhere.example/"),
    ],
    ids=["throws", "rejects", "logs", "runs inline", "breaks its policy", "asks elsewhere", "goes elsewhere"],
)
def test_a_fault_of_a_page_is_recorded(browser, script, fault):
    monitored = MonitoredBrowser(browser, ORIGIN)
    context = monitored.context()
    policy = "img-src 'self'; script-src 'unsafe-eval'"
    headers = {"Content-Security-Policy": policy, "Content-Type": "text/html"}
    context.route(f"{ORIGIN}/", lambda route: route.fulfill(body=PAGE, headers=headers))
    page = context.new_page()
    page.goto(ORIGIN)
    assert monitored.faults == []
    page.evaluate(f"() => {{ {script} }}")
    for _ in range(1000):  # Playwright handles events of the browser while it waits
        if monitored.faults:
            break
        page.wait_for_timeout(10)
    monitored.close()
    assert any(recorded.startswith(fault) for recorded in monitored.faults), monitored.faults
