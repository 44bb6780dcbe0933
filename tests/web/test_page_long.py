"""A conversation of 5,000 messages: few of them are in the document, and scrolling is smooth."""

from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.web.browser import needs_chromium
from tests.web.chat_page import create_conversation

pytestmark = needs_chromium

# Counts late frames, and the maximum number of messages in the document.
WATCH_FRAMES = """() => {
  window.seen = { most: 0, late: 0, count: 0 };
  let before = performance.now();
  const frame = (now) => {
    seen.count += 1;
    if (now - before > 250) seen.late += 1;
    seen.most = Math.max(seen.most, document.querySelectorAll("article.message").length);
    before = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""
NUMBERS = """() => [...document.querySelectorAll("article.message")]
  .map((message) => Number(/Message (\\d+)/.exec(message.textContent)[1]))"""


@pytest.fixture
def tab(chat, database):
    user_id = uuid4()
    contents = [f"Message {n}. " + "Some **words** and `code`. " * (n % 9) for n in range(1, 5001)]
    conversation_id = create_conversation(database, user_id, *contents, title="A long one")
    tab = chat.open(user_id=user_id, conversation_id=conversation_id)
    expect(tab.page.get_by_text("Message 5000.")).to_be_in_viewport()
    tab.page.evaluate(WATCH_FRAMES)
    tab.page.locator("#scroller").hover()
    return tab


def test_five_thousand_messages_scroll_smoothly_with_few_in_the_document(tab):
    for _ in range(100):
        tab.page.mouse.wheel(0, -2000)
        tab.page.wait_for_timeout(10)
    up = tab.page.evaluate(NUMBERS)
    assert up[0] < 4700
    assert up == list(range(up[0], up[0] + len(up)))
    tab.wait_until(lambda: tab.page.mouse.wheel(0, 3000) or tab.page.evaluate(NUMBERS)[-1] > up[-1])
    down = tab.page.evaluate(NUMBERS)
    assert down == list(range(down[0], down[0] + len(down)))
    tab.page.get_by_role("button", name="Go to the latest message").click()
    expect(tab.page.get_by_text("Message 5000.")).to_be_in_viewport()
    assert tab.page.evaluate(NUMBERS)[-1] == 5000
    seen = tab.page.evaluate("seen")
    assert seen["most"] <= 250
    assert seen["late"] <= seen["count"] / 10, seen


def test_an_answer_in_a_long_conversation_is_streamed_smoothly(tab):
    answer = tab.ask("mock:tokens=100,gap=5ms")
    expect(answer).to_be_in_viewport()
    seen = tab.page.evaluate("seen")
    assert seen["most"] <= 250
    assert seen["late"] <= seen["count"] / 10, seen
