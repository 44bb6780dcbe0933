"""Measures the size of the chat page and the time to its first paint.

The size is the sum of the served files, plain and after gzip. The first paint is the browser's entry
"first-contentful-paint". Each load has a new browser context, so that nothing is cached. The server is on the
same machine.
"""

import gzip
import os
import shutil
import statistics
from collections import defaultdict

from playwright.sync_api import Browser, sync_playwright

from bench import servers
from dev import postgres
from dev.local import ROOT

_LOADS = 9
_KINDS = {".html": "HTML", ".css": "CSS", ".js": "JavaScript", ".svg": "images"}
_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
  const painted = list.getEntries().find(({ name }) => name === "first-contentful-paint");
  if (painted) resolve(painted.startTime);
}).observe({ type: "paint", buffered: true }))"""


def measure() -> list[tuple[str, str]]:
    """Names and values of the results. Without Chromium, only the sizes are measured."""
    rows = [
        (f"page, {kind}", f"{raw / 1000:.1f} kB, gzip {packed / 1000:.1f} kB")
        for kind, raw, packed in _bytes()
    ]
    chromium = shutil.which("chromium")
    if chromium is None:
        return [*rows, ("first paint", "not measured: Chromium is not installed")]
    times = _first_paints(chromium)
    median, slowest = statistics.median(times), max(times)
    return [
        *rows,
        ("first paint, cold", f"{median:.0f} ms (median of {_LOADS} loads; maximum {slowest:.0f} ms)"),
    ]


def _bytes() -> list[tuple[str, int, int]]:
    """Plain bytes and gzip bytes, by kind of file and in total."""
    raw: dict[str, int] = defaultdict(int)
    packed: dict[str, int] = defaultdict(int)
    for path in sorted((ROOT / "web").rglob("*")):
        if path.suffix in _KINDS:
            content = path.read_bytes()
            for kind in (_KINDS[path.suffix], "total"):
                raw[kind] += len(content)
                packed[kind] += len(gzip.compress(content, mtime=0))
    return [(kind, raw[kind], packed[kind]) for kind in (*_KINDS.values(), "total")]


def _first_paints(chromium: str) -> list[float]:
    """Milliseconds to the first paint of each load."""
    with servers.database() as database:
        environ = {"DATABASE_URL": database.url(postgres.APP), "LOG_LEVEL": "CRITICAL"}
        with servers.uvicorn(environ) as served, sync_playwright() as playwright:
            url = f"http://127.0.0.1:{served.port}"
            args = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            browser = playwright.chromium.launch(executable_path=chromium, args=args)
            _first_paint(browser, url)  # the first load includes the start of the browser
            return [_first_paint(browser, url) for _ in range(_LOADS)]


def _first_paint(browser: Browser, url: str) -> float:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    painted: float = page.evaluate(_PAINT)
    context.close()
    return painted
