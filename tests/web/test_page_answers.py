"""An answer as it is read: word by word, stopped, broken off, taken up again."""

import re

import pytest
from playwright.sync_api import expect

from dev.mock_llm import answer_text, partial_text
from tests.web.browser import needs_chromium

pytestmark = needs_chromium

# Writes down each length that the last answer has on its way.
WATCH_LENGTHS = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const text = [...document.querySelectorAll("article.message .markdown")].at(-1)?.textContent ?? "";
    if (text.length !== lengths.at(-1)) lengths.push(text.length);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_an_answer_grows_word_by_word_and_ends_with_its_cost(chat):
    tab = chat.open()
    tab.page.evaluate(WATCH_LENGTHS)
    tab.say("mock:tokens=60,gap=30ms")
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
    assert chat.stored()[1] == ("assistant", "complete", answer_text("tokens=60"))


def test_a_message_of_several_lines_is_sent_as_it_was_written(chat):
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
    assert chat.stored()[0] == ("user", "complete", "one\ntwo\nthree")


@pytest.mark.parametrize("text", ["", "   \n", "x" * 32_001], ids=["nothing", "blanks", "too much"])
def test_what_cannot_be_sent_is_not(chat, text):
    tab = chat.open()
    tab.field.fill(text)
    expect(tab.send_button).to_be_disabled()
    tab.field.press("Enter")
    tab.field.fill("Hi")
    expect(tab.send_button).to_be_enabled()
    assert chat.stored() == []


def test_a_stop_keeps_what_came_and_the_answer_goes_on_when_it_is_wished(chat):
    tab = chat.open()
    tab.say("mock:tokens=2000,gap=20ms")
    expect(tab.answer).to_contain_text("ipsum dolor")
    tab.stop_button.click()
    expect(tab.answer).to_have_attribute("data-status", "cancelled")
    expect(tab.send_button).to_be_visible()
    expect(tab.answer.get_by_role("button", name="Continue")).to_be_visible()
    tab.wait_until(lambda: chat.stored()[1][1] == "cancelled")
    assert chat.stored()[1][2].split() == tab.text_of(tab.answer).split()
    tab.answer.get_by_role("button", name="Continue").click()
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_have_attribute("data-status", "complete")


def test_an_answer_that_breaks_off_says_so_and_can_be_asked_for_again(chat):
    tab = chat.open()
    tab.say("mock:cut,after=5")
    expect(tab.answer).to_have_attribute("data-status", "error")
    assert tab.text_of(tab.answer) == partial_text("cut,after=5")
    expect(tab.answer.get_by_role("button", name="Continue")).to_be_visible()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answers).to_have_count(2)


def test_a_question_that_no_model_answered_is_tried_again_and_not_doubled(chat):
    tab = chat.open()
    tab.say("mock:fail=1,401,text=Here I am")
    expect(tab.answer).to_have_attribute("data-status", "error")
    assert "401" not in tab.answer.inner_text()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == "Here I am"
    expect(tab.messages).to_have_count(2)
    assert [role for role, *_ in chat.stored()] == ["user", "assistant"]


def test_a_failed_question_is_tried_again_after_a_reload_and_not_doubled(chat):
    tab = chat.open()
    tab.say("mock:fail=1,401,text=Here I am")
    expect(tab.answer).to_have_attribute("data-status", "error")
    tab.page.reload()
    tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    expect(tab.messages).to_have_count(2)
    assert [role for role, *_ in chat.stored()] == ["user", "assistant"]


def test_thinking_is_folded_away(chat):
    tab = chat.open()
    answer = tab.ask("mock:text=<think>Who is it%2C then?</think>It is you")
    assert tab.text_of(answer) == "It is you"
    expect(answer.get_by_text("Who is it, then?")).to_be_hidden()
    answer.locator("summary").click()
    expect(answer.get_by_text("Who is it, then?")).to_be_visible()


def test_markdown_is_shown_and_code_is_copied(chat):
    tab = chat.open(permissions=["clipboard-read", "clipboard-write"])
    answer = tab.ask(
        "# A list\n\n- one\n- **two**\n\n```python\nprint('hello')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    expect(answer.get_by_role("heading", name="A list")).to_be_visible()
    expect(answer.locator("li strong")).to_have_text("two")
    expect(answer.locator("table td").last).to_have_text("2")
    answer.locator(".code").get_by_role("button").click()
    assert tab.page.evaluate("navigator.clipboard.readText()").strip() == "print('hello')"


def test_who_reads_on_is_not_taken_to_the_end_of_what_came_at_once(chat):
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


def test_who_scrolls_up_is_left_there_and_who_comes_back_follows(chat):
    tab = chat.open()
    tab.say("mock:tokens=3000,gap=5ms")
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
