"""What a model says cannot do anything on the page: the vectors of `xss.txt`, cut at every place."""

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

# Says what is wrong with an element and all that is in it: whatever is not on a short list.
FAULTS_OF = """(root) => {
  const names = new Set(("a blockquote br code del div em h2 h3 h4 h5 h6 hr kbd li mark ol p pre s small " +
    "span strong sub sup table tbody td th thead tr u ul time article footer section").split(" "));
  const attributes = new Set(("align aria-current aria-label class datetime dir href rel role start " +
    "tabindex target title").split(" "));
  const faults = [];
  for (const element of root.querySelectorAll("*")) {
    if (element.closest("button")) continue; // the page's own, of an icon each; checked below
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

# Cut after each character, and then whole: it must look as if it had come in one.
AT_EVERY_PLACE = """async ([vectors, faultsOf]) => {
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


def is_not_hit(page: Page) -> bool:
    return bool(page.evaluate("window.hits === 0"))


@pytest.fixture
def context(chat) -> Any:
    made = chat.context()
    made.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 };")
    return made


def test_the_corpus_is_read_as_it_is_written():
    names = [name for name, _ in VECTORS]
    assert len(names) == len(set(names)) > 70
    assert VECTORS[0] == ("a script", "<script>hit()</script>")
    assert all(text.strip() for _, text in VECTORS)


@pytest.mark.parametrize("part", range(3))
def test_no_text_runs_asks_or_escapes_wherever_it_is_cut(chat, context, part):
    tab = chat.open(context)
    expect(tab.field).to_be_visible()
    check = f"async ([vectors]) => ({AT_EVERY_PLACE})([vectors, ({FAULTS_OF})])"
    assert tab.page.evaluate(check, [VECTORS[part::3]]) == []
    assert is_not_hit(tab.page)


@pytest.mark.parametrize("part", range(2))
def test_no_streamed_text_runs_asks_or_escapes(serve_chat, watch, part):
    chat = serve_chat(LLM_MODEL="openai/mock:obey&letters=3&gap=1ms")
    context = chat.context()
    context.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 };")
    tab = chat.open(context)
    text = "\n\n".join(vector for _, vector in VECTORS[part::2])
    answer = tab.ask(text)
    assert "hit()" in answer.inner_text()
    expect(tab.conversations.first.locator("a")).to_have_text(re.compile("^<script"))
    for _ in range(2):  # as it came, and as it was stored
        for region in ("#scroller .messages", "#conversations"):
            assert tab.page.locator(region).evaluate(FAULTS_OF) == []
        assert is_not_hit(tab.page)
        tab.page.reload()
        expect(tab.answer).to_have_attribute("data-status", "complete")
    tab.page.locator("#search").fill("hit")
    expect(tab.page.locator("#results li").first).to_be_visible()
    assert tab.page.locator("#results").evaluate(FAULTS_OF) == []
    assert is_not_hit(tab.page)


def test_a_link_shows_where_it_leads_and_an_image_is_a_link(chat):
    tab = chat.open()
    answer = tab.ask(
        "[a friend](https://elsewhere.example/path) and ![a picture](https://pictures.example/x.png)"
    )
    links = answer.locator("a")
    expect(links.first).to_have_attribute("href", "https://elsewhere.example/path")
    expect(links.first).to_contain_text("elsewhere.example")
    expect(links.last).to_contain_text("pictures.example")


def test_the_token_is_in_this_tabs_storage_alone_and_never_in_an_address(chat):
    asked: list[str] = []
    context = chat.context()
    context.on("request", lambda request: asked.append(request.url))
    tab = chat.open(context, user_id=uuid4())
    tab.ask("Hi")
    assert "token" not in tab.page.url
    assert asked
    assert not [url for url in asked if "eyJ" in url]
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
