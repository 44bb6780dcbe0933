"""Answers on the page: streamed, stopped, failed and retried."""

import re

import pytest
from playwright.sync_api import expect

from dev.mock_llm import answer_text, partial_text
from tests.web.browser import needs_chromium

pytestmark = needs_chromium

# Records each length of the last answer while it is streamed.
WATCH_LENGTHS = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const text = [...document.querySelectorAll("article.message .markdown")].at(-1)?.textContent ?? "";
    if (text.length !== lengths.at(-1)) lengths.push(text.length);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_an_answer_is_streamed_and_then_shows_its_cost(chat):
    tab = chat.open()
    tab.page.evaluate(WATCH_LENGTHS)
    tab.send("mock:tokens=60,gap=30ms")
    expect(tab.field).to_have_value("")
    expect(tab.stop_button).to_be_visible()
    expect(tab.answer).to_have_attribute("data-status", "streaming")
    expect(tab.answer).to_have_attribute("data-status", "complete")
    lengths = tab.page.evaluate("lengths")
    assert lengths == sorted(lengths)
    assert len(lengths) > 15
    assert tab.text_of(tab.answer) == answer_text("tokens=60")
    expect(tab.send_button).to_be_visible()
    expect(tab.answer.locator("footer")).to_contain_text(re.compile(r"60.*\$0\.\d+", re.DOTALL))
    expect(tab.answer.locator("time")).to_be_visible()
    assert chat.stored_messages()[1] == ("assistant", "complete", answer_text("tokens=60"))


def test_a_message_keeps_its_line_breaks(chat):
    tab = chat.open()
    height = tab.field.evaluate("e => e.clientHeight")
    tab.field.press_sequentially("one")
    tab.field.press("Shift+Enter")
    tab.field.press_sequentially("two")
    tab.field.press("Shift+Enter")
    tab.field.press_sequentially("three")
    assert tab.field.evaluate("e => e.clientHeight") > height
    tab.field.press("Enter")
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert chat.stored_messages()[0] == ("user", "complete", "one\ntwo\nthree")


@pytest.mark.parametrize("text", ["", "   \n", "x" * 32_001], ids=["nothing", "blanks", "too much"])
def test_empty_and_too_long_messages_cannot_be_sent(chat, text):
    tab = chat.open()
    tab.field.fill(text)
    expect(tab.send_button).to_be_disabled()
    tab.field.press("Enter")
    tab.field.fill("Hi")
    expect(tab.send_button).to_be_enabled()
    assert chat.stored_messages() == []


def test_a_stopped_answer_keeps_its_text_and_can_be_continued(chat):
    tab = chat.open()
    tab.send("mock:tokens=2000,gap=20ms")
    expect(tab.answer).to_contain_text("ipsum dolor")
    tab.stop_button.click()
    expect(tab.answer).to_have_attribute("data-status", "cancelled")
    expect(tab.send_button).to_be_visible()
    expect(tab.answer.get_by_role("button", name="Continue")).to_be_visible()
    tab.wait_until(lambda: chat.stored_messages()[1][1] == "cancelled")
    assert chat.stored_messages()[1][2].split() == tab.text_of(tab.answer).split()
    tab.answer.get_by_role("button", name="Continue").click()
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_have_attribute("data-status", "complete")


def test_an_answer_that_fails_keeps_its_text_and_can_be_retried(chat):
    tab = chat.open()
    tab.send("mock:cut,after=5")
    expect(tab.answer).to_have_attribute("data-status", "error")
    assert tab.text_of(tab.answer) == partial_text("cut,after=5")
    expect(tab.answer.get_by_role("button", name="Continue")).to_be_visible()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answers).to_have_count(2)


def test_a_retry_of_an_unanswered_question_stores_the_question_once(chat):
    tab = chat.open()
    tab.send("mock:fail=1,401,text=Here I am")
    expect(tab.answer).to_have_attribute("data-status", "error")
    assert "401" not in tab.answer.inner_text()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == "Here I am"
    expect(tab.messages).to_have_count(2)
    assert [role for role, *_ in chat.stored_messages()] == ["user", "assistant"]


def test_a_retry_after_a_reload_stores_the_question_once(chat):
    tab = chat.open()
    tab.send("mock:fail=1,401,text=Here I am")
    expect(tab.answer).to_have_attribute("data-status", "error")
    tab.page.reload()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    expect(tab.messages).to_have_count(2)
    assert [role for role, *_ in chat.stored_messages()] == ["user", "assistant"]


def test_thinking_is_collapsed(chat):
    tab = chat.open()
    answer = tab.ask("mock:text=<think>Who is it%2C then?</think>It is you")
    assert tab.text_of(answer) == "It is you"
    expect(answer.get_by_text("Who is it, then?")).to_be_hidden()
    answer.locator("summary").click()
    expect(answer.get_by_text("Who is it, then?")).to_be_visible()


def test_markdown_is_rendered_and_code_can_be_copied(chat):
    tab = chat.open(permissions=["clipboard-read", "clipboard-write"])
    answer = tab.ask(
        "# A list\n\n- one\n- **two**\n\n```python\nprint('hello')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    expect(answer.get_by_role("heading", name="A list")).to_be_visible()
    expect(answer.locator("li strong")).to_have_text("two")
    expect(answer.locator("table td").last).to_have_text("2")
    answer.locator(".code").get_by_role("button").click()
    assert tab.page.evaluate("navigator.clipboard.readText()").strip() == "print('hello')"


def test_scrolling_down_to_the_old_end_does_not_jump_to_the_new_end(chat):
    tab = chat.open()
    tab.ask("mock:tokens=1500")
    scroller = tab.page.locator("#scroller")
    scroller.hover()
    tab.page.mouse.wheel(0, -1000)
    tab.page.wait_for_timeout(200)
    grow = """px => {
        const grown = document.createElement("div");
        grown.style.height = `${px}px`;
        document.querySelector(".messages").lastElementChild.append(grown);
    }"""
    tab.page.evaluate(grow, 4000)
    tab.page.wait_for_timeout(200)
    for _ in range(8):
        tab.page.mouse.wheel(0, 200)
        tab.page.wait_for_timeout(100)
    before = scroller.evaluate("e => e.scrollTop")
    tab.page.evaluate(grow, 50)
    tab.page.wait_for_timeout(200)
    assert scroller.evaluate("e => e.scrollTop") == before


def test_scrolling_up_stops_following_and_scrolling_to_the_end_resumes_it(chat):
    tab = chat.open()
    tab.send("mock:tokens=3000,gap=5ms")
    scroller = tab.page.locator("#scroller")
    at_end = "e => e.scrollHeight - e.scrollTop - e.clientHeight < 60"
    tab.wait_until(lambda: scroller.evaluate("e => e.scrollHeight > e.clientHeight * 1.5"))
    tab.wait_until(lambda: scroller.evaluate(at_end))
    scroller.hover()
    tab.page.mouse.wheel(0, -300)
    tab.wait_until(lambda: not scroller.evaluate(at_end))
    tab.page.wait_for_timeout(100)
    before = scroller.evaluate("e => [e.scrollTop, e.scrollHeight]")
    tab.wait_until(lambda: scroller.evaluate("(e, height) => e.scrollHeight > height + 100", before[1]))
    assert abs(scroller.evaluate("e => e.scrollTop") - before[0]) < 2
    tab.page.mouse.wheel(0, 100_000)
    tab.wait_until(lambda: scroller.evaluate(at_end))
    tab.wait_until(lambda: scroller.evaluate("(e, height) => e.scrollHeight > height + 300", before[1]))
    tab.wait_until(lambda: scroller.evaluate(at_end))
    tab.stop_button.click()
    expect(tab.answer).to_have_attribute("data-status", "cancelled")
