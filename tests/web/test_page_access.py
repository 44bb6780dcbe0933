"""Accessibility and languages: keyboard, screen reader, reduced motion, text direction, translations."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.web.browser import needs_chromium
from tests.web.chat_page import create_conversation

pytestmark = needs_chromium

FOCUSED = "document.activeElement.id || document.activeElement.getAttribute('aria-label') || \
  document.activeElement.textContent.trim()"


def walk(tab, key: str, until: str) -> list[str]:
    """Presses the key until an element that matches `until` has the focus. Returns all focused names."""
    way: list[str] = []
    for _ in range(60):
        tab.page.keyboard.press(key)
        way.append(tab.page.evaluate(FOCUSED))
        if re.search(until, way[-1]):
            return way
    raise AssertionError(f"{until} did not get the focus: {way}")


def test_all_actions_work_by_keyboard_and_the_focus_is_visible(chat):
    tab = chat.open()
    keyboard = tab.page.keyboard
    walk(tab, "Shift+Tab", "^Skip")
    expect(tab.page.get_by_role("link", name="Skip to the message field")).to_be_in_viewport()
    keyboard.press("Enter")
    expect(tab.field).to_be_focused()
    keyboard.type("mock:tokens=2000,gap=20ms")
    keyboard.press("Enter")
    expect(tab.answer).to_contain_text("ipsum")
    walk(tab, "Tab", "^stop$")
    keyboard.press("Enter")
    expect(tab.answer).to_have_attribute("data-status", "cancelled")
    expect(tab.field).to_be_focused()
    walk(tab, "Shift+Tab", "Continue")
    walk(tab, "Shift+Tab", "^Rename")
    keyboard.press("Enter")
    keyboard.type("By keyboard")
    keyboard.press("Enter")
    expect(tab.conversations.first.locator("a")).to_have_text("By keyboard")
    assert tab.page.evaluate(FOCUSED).startswith("Rename")
    walk(tab, "Tab", "^Delete")
    keyboard.press("Enter")
    expect(tab.conversations).to_have_count(0)
    walk(tab, "Tab", "^Undo")
    keyboard.press("Enter")
    expect(tab.conversations).to_have_count(1)
    walk(tab, "Tab", "open-settings")
    keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    way = [tab.page.keyboard.press("Tab") or tab.page.evaluate(FOCUSED) for _ in range(12)]
    assert "message" not in way  # elements behind the dialog cannot get the focus
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert tab.page.evaluate(FOCUSED) == "open-settings"
    outline = tab.page.evaluate(
        "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.boxShadow }"
    )
    assert outline != "nonenone"


def test_the_page_announces_sentences_to_screen_readers_not_words(chat):
    tab = chat.open()
    tab.page.evaluate(
        """() => {
          window.announced = [];
          new MutationObserver((changes) => {
            const nodes = changes.flatMap(({ addedNodes }) => [...addedNodes]);
            for (const node of nodes) announced.push(node.textContent);
          }).observe(document.querySelector("#announcements"), { childList: true, subtree: true });
        }"""
    )
    sentences = [f"This is sentence number {n} of the answer." for n in range(12)]
    tab.ask("mock:gap=30ms,text=" + " ".join(sentences))
    tab.wait_until(lambda: sentences[-1] in tab.page.evaluate("announced").__str__())
    announced = tab.page.evaluate("announced")
    assert [part for part in sentences if part not in " ".join(announced)] == []
    assert len(announced) <= 8
    live = tab.page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert not live.locator("article.message").count()
    assert tab.page.locator("article.message").locator("xpath=ancestor::*[@aria-live]").count() == 0


def test_reduced_motion_stops_all_animations(chat):
    tab = chat.open(reduced_motion="reduce")
    moving = "document.getAnimations().filter((a) => a.playState === 'running').length"
    tab.send("mock:hang,after=5,tokens=20")
    expect(tab.answer).to_contain_text("amet")
    assert tab.page.evaluate(moving) == 0
    tab.page.emulate_media(reduced_motion="no-preference")
    assert tab.page.evaluate(moving) > 0
    tab.stop_button.click()
    expect(tab.answer).to_have_attribute("data-status", "cancelled")


def test_each_text_has_the_direction_of_its_language_and_code_is_left_to_right(chat, database):
    user_id = uuid4()
    answer = "هذا نص مهم.\n\nAnd this is English.\n\n```\ncode\n```"
    conversation_id = create_conversation(database, user_id, "كيف حالك؟", answer, title="مرحبا")
    tab = chat.open(user_id=user_id, conversation_id=conversation_id)
    expect(tab.messages).to_have_count(2)
    tab.field.fill("مرحبا")
    direction = "e => getComputedStyle(e).direction"
    expected = {
        tab.messages.first.locator("p").first: "rtl",
        tab.answer.locator("p").first: "rtl",
        tab.answer.locator("p").nth(1): "ltr",
        tab.answer.locator("pre"): "ltr",
        tab.page.get_by_role("heading", level=1): "rtl",
        tab.conversations.first.locator("a"): "rtl",
        tab.field: "rtl",
    }
    assert [locator.evaluate(direction) for locator in expected] == list(expected.values())


WORDS = {
    "en-GB": ("en", "New chat", "Send", "Stop", "Continue"),
    "de-AT": ("de", "Neues Gespräch", "Senden", "Anhalten", "Weiter"),
    "ja-JP": ("ja", "新しい会話", "送信", "停止", "続"),
    "fr-FR": ("en", "New chat", "Send", "Stop", "Continue"),
}


@pytest.mark.parametrize("locale", WORDS)
def test_the_page_is_in_the_browsers_language(chat, locale):
    language, new_chat, send, stop, proceed = WORDS[locale]
    tab = chat.open(locale=locale)
    expect(tab.page.locator("html")).to_have_attribute("lang", language)
    expect(tab.page.get_by_role("button", name=new_chat)).to_be_visible()
    expect(tab.page.get_by_role("button", name=send, exact=True)).to_be_visible()
    tab.send("mock:hang,after=5,tokens=20")
    expect(tab.answer).to_contain_text("amet")
    tab.page.get_by_role("button", name=stop, exact=True).click()
    expect(tab.answer.get_by_role("button", name=re.compile(proceed))).to_be_visible()


def test_the_chosen_theme_and_language_survive_a_reload(chat):
    tab = chat.open(color_scheme="light")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = tab.page.evaluate(background)
    tab.press("Settings")
    tab.page.get_by_label("Theme").select_option("dark")
    dark = tab.page.evaluate(background)
    assert dark != light
    tab.page.get_by_label("Language").select_option("de")
    expect(tab.page.get_by_role("button", name="Neues Gespräch")).to_be_visible()
    tab.page.reload()
    expect(tab.page.get_by_role("button", name="Neues Gespräch")).to_be_visible()
    assert tab.page.evaluate(background) == dark


def test_every_language_has_every_text(chat):
    tab = chat.open()
    texts = tab.page.evaluate("async () => (await import('/page/texts.js')).texts")
    assert set(texts) == {"en", "de", "ja"}
    placeholders = {
        language: {key: sorted(set(re.findall(r"\{\w+\}", str(text)))) for key, text in table.items()}
        for language, table in texts.items()
    }
    assert placeholders["de"] == placeholders["en"] == placeholders["ja"]


def test_on_a_phone_the_sidebar_is_a_drawer(chat, database):
    user_id = uuid4()
    create_conversation(database, user_id, "Hi", "Hello", title="The one")
    tab = chat.open(user_id=user_id, viewport={"width": 380, "height": 740}, has_touch=True)
    expect(tab.page.locator("#sidebar")).not_to_be_in_viewport()
    tab.open_sidebar()
    expect(tab.conversations.first).to_be_in_viewport()
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#sidebar")).not_to_be_in_viewport()
    tab.open_sidebar()
    tab.conversations.first.locator("a").click()
    expect(tab.messages).to_have_count(2)
    expect(tab.page.locator("#sidebar")).not_to_be_in_viewport()
