"""Answers of a model cannot harm the page: the attack vectors in `xss.txt`, cut at every character."""

import re
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.web.browser import needs_chromium
from tests.web.node import FOLDER

pytestmark = needs_chromium

_ENTRY = re.compile(r"^----- (.+)\n([^\0]*?)(?=\n-----|\n?\Z)", re.MULTILINE)
VECTORS = _ENTRY.findall((FOLDER / "xss.txt").read_text("utf-8"))

# Returns everything in an element that is not on a list of allowed names.
FAULTS_OF = """(root) => {
  const names = new Set(("a blockquote br code del div em h2 h3 h4 h5 h6 hr kbd li mark ol p pre s small " +
    "span strong sub sup table tbody td th thead tr u ul time article footer section").split(" "));
  const attributes = new Set(("align aria-current aria-label class datetime dir href rel role start " +
    "tabindex target title").split(" "));
  const faults = [];
  for (const element of root.querySelectorAll("*")) {
    if (element.closest("button")) continue; // the page's own buttons, checked below
    if (!names.has(element.localName)) faults.push(element.outerHTML);
    for (const { name, value } of element.attributes) {
      const fine = name === "href" ? /^(https?:\\/\\/|mailto:|#c=)/i.test(value)
        : name === "role" ? ["group", "region"].includes(value)
        : attributes.has(name) || name.startsWith("data-");
      if (!fine) faults.push(`${name}="${value}" in ${element.outerHTML}`);
    }
    const away = element.localName === "a" && !element.getAttribute("href")?.startsWith("#c=");
    if (away && !(element.target === "_blank" && element.relList.contains("noopener"))) {
      faults.push(`leads away: ${element.outerHTML}`);
    }
  }
  const icons = /^<svg class="icon" [^<>]*><path d="[MmLlHhVvAaZz0-9. -]*"><\\/path><\\/svg>$/;
  for (const button of root.querySelectorAll("button")) {
    if (button.type !== "button" || !icons.test(button.innerHTML)) faults.push(button.outerHTML);
  }
  return faults;
}"""

# Renders each vector cut after each character, then whole. The result must be that of the whole text.
CUT_EVERYWHERE = """async ([vectors, faultsOf]) => {
  const { MarkdownView } = await import("/page/markdown.js");
  const show = (...texts) => {
    const element = document.createElement("div");
    document.body.append(element);
    const view = new MarkdownView(element);
    const wrong = texts.flatMap((text, index) => {
      view.show(text, index === texts.length - 1);
      return faultsOf(element);
    });
    element.remove();
    return { html: element.innerHTML, wrong };
  };
  const faults = [];
  for (const [name, text] of vectors) {
    const whole = show(text);
    faults.push(...whole.wrong.map((fault) => `${name}: ${fault}`));
    const steps = [];
    for (let at = 1; at < text.length; at += 1) {
      steps.push(text.slice(0, at));
      const grown = show(text.slice(0, at), text);
      faults.push(...grown.wrong.map((fault) => `${name}, cut at ${at}: ${fault}`));
      if (grown.html !== whole.html) faults.push(`${name}, cut at ${at}: ${grown.html} is not ${whole.html}`);
    }
    if (show(...steps, text).html !== whole.html) faults.push(`${name}, letter by letter`);
  }
  return faults;
}"""


def nothing_ran(page: Page) -> bool:
    return bool(page.evaluate("window.hits === 0"))


@pytest.fixture
def context(chat) -> Any:
    created = chat.context()
    created.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 };")
    return created


def test_the_file_of_vectors_is_parsed():
    names = [name for name, _ in VECTORS]
    assert len(names) == len(set(names)) > 70
    assert VECTORS[0] == ("a script", "<script>hit()</script>")
    assert all(text.strip() for _, text in VECTORS)


@pytest.mark.parametrize("part", range(3))
def test_no_vector_runs_or_sends_a_request_wherever_it_is_cut(chat, context, part):
    tab = chat.open(context)
    expect(tab.field).to_be_visible()
    check = f"async ([vectors]) => ({CUT_EVERYWHERE})([vectors, ({FAULTS_OF})])"
    assert tab.page.evaluate(check, [VECTORS[part::3]]) == []
    assert nothing_ran(tab.page)


@pytest.mark.parametrize("part", range(2))
def test_no_streamed_vector_runs_or_sends_a_request(serve_chat, watch, part):
    chat = serve_chat(LLM_MODEL="openai/mock:obey&letters=3&gap=1ms")
    context = chat.context()
    context.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 };")
    tab = chat.open(context)
    text = "\n\n".join(vector for _, vector in VECTORS[part::2])
    answer = tab.ask(text)
    assert "hit()" in answer.inner_text()
    expect(tab.conversations.first.locator("a")).to_have_text(re.compile("^<script"))
    for _ in range(2):  # as streamed, and as stored
        for region in ("#scroller .messages", "#conversations"):
            assert tab.page.locator(region).evaluate(FAULTS_OF) == []
        assert nothing_ran(tab.page)
        tab.page.reload()
        expect(tab.answer).to_have_attribute("data-status", "complete")
    tab.page.locator("#search").fill("hit")
    expect(tab.page.locator("#results li").first).to_be_visible()
    assert tab.page.locator("#results").evaluate(FAULTS_OF) == []
    assert nothing_ran(tab.page)


def test_a_link_shows_its_target_and_an_image_is_a_link(chat):
    tab = chat.open()
    answer = tab.ask(
        "[a friend](https://elsewhere.example/path) and ![a picture](https://pictures.example/x.png)"
    )
    links = answer.locator("a")
    expect(links.first).to_have_attribute("href", "https://elsewhere.example/path")
    expect(links.first).to_contain_text("elsewhere.example")
    expect(links.last).to_contain_text("pictures.example")


def test_the_token_is_only_in_the_tabs_session_storage_and_never_in_a_url(chat):
    urls: list[str] = []
    context = chat.context()
    context.on("request", lambda request: urls.append(request.url))
    tab = chat.open(context, user_id=uuid4())
    tab.ask("Hi")
    assert "token" not in tab.page.url
    assert urls
    assert not [url for url in urls if "eyJ" in url]
    assert "eyJ" not in tab.page.evaluate("JSON.stringify(localStorage) + document.cookie")
    assert "eyJ" in tab.page.evaluate("JSON.stringify(sessionStorage)")


def test_the_page_may_load_nothing_but_its_own_files(chat):
    tab = chat.open()
    response = tab.page.reload()
    assert response
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert not re.search(r"https?:|\*", policy)
