"""That the tests' browser sees what no page may do: a watch that sees nothing would pass every page."""

import pytest

from tests.web.browser import Watched, needs_chromium

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
def test_what_no_page_may_do_is_seen(browser, script, fault):
    watched = Watched(browser, ORIGIN)
    context = watched.context()
    policy = "img-src 'self'; script-src 'unsafe-eval'"
    headers = {"Content-Security-Policy": policy, "Content-Type": "text/html"}
    context.route(f"{ORIGIN}/", lambda route: route.fulfill(body=PAGE, headers=headers))
    page = context.new_page()
    page.goto(ORIGIN)
    assert watched.faults == []
    page.evaluate(f"() => {{ {script} }}")
    for _ in range(1000):  # what the browser tells comes while Playwright waits for something
        if watched.faults:
            break
        page.wait_for_timeout(10)
    watched.close()
    assert any(said.startswith(fault) for said in watched.faults), watched.faults
