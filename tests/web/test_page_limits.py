"""The page after refusals: limits, budgets, tokens."""

import re
from uuid import uuid4

from playwright.sync_api import expect

from shared import auth
from tests.serving import SECRET, token
from tests.web.browser import needs_chromium

pytestmark = needs_chromium


def expired_token(user_id) -> str:
    return auth.sign(user_id, secret=SECRET, now=1_000_000_000, lifetime=60)


def countdown(tab) -> int:
    return int(tab.page.locator("#countdown").inner_text().split()[0])


def test_a_rate_limit_shows_a_countdown_and_the_message_can_be_sent_after_it(serve_chat, database):
    chat = serve_chat(RATE_LIMIT_CHAT="1/60")
    tab = chat.open()
    tab.page.clock.install()
    tab.ask("Hi")
    tab.send("And?")
    expect(tab.status).to_contain_text(re.compile(r"\b([1-9]|[1-5]\d|60)\b"))
    left = countdown(tab)
    tab.wait_until(lambda: countdown(tab) < left)
    assert [content for role, _, content in chat.stored_messages() if role == "user"] == ["Hi"]
    expect(tab.messages.nth(2)).to_contain_text("And?")
    again = tab.answer.get_by_role("button", name="Try again")
    expect(again).to_be_disabled()
    database.rows("delete from rate_limits")
    tab.page.clock.run_for(60_000)
    again.click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert [content for role, _, content in chat.stored_messages() if role == "user"] == ["Hi", "And?"]


def test_an_exceeded_budget_is_shown(serve_chat):
    tab = serve_chat(BUDGET_USD_PER_DAY="0.0001").open()
    tab.send("Hi")
    expect(tab.status).to_contain_text(re.compile("budget", re.IGNORECASE))
    expect(tab.messages.first).to_contain_text("Hi")


def test_after_an_expired_token_the_user_signs_in_and_the_message_is_sent(chat, database):
    user_id = uuid4()
    tab = chat.open(bearer=expired_token(user_id))
    tab.send("Hi")
    dialog = tab.page.get_by_role("dialog")
    tab.status.get_by_role("button", name="Sign in").click()
    dialog.get_by_label("Token").fill(token(user_id))
    dialog.get_by_role("button", name="Sign in").last.click()
    expect(dialog).to_be_hidden()
    if tab.answer.get_attribute("data-status") == "error":
        tab.answer.get_by_role("button", name="Try again").click()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert database.rows("select distinct user_id from messages") == [{"user_id": user_id}]
    assert [role for role, *_ in chat.stored_messages()] == ["user", "assistant"]


def test_an_invalid_token_shows_an_error_in_the_dialog(chat):
    tab = chat.open()
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.locator("#settings-sign-in").click()
    tab.page.locator("#token").fill("nonsense")
    tab.page.locator("#sign-in-form button[type=submit]").click()
    expect(tab.page.locator("#sign-in-problem")).not_to_be_empty()
    expect(tab.page.locator("#sign-in")).to_be_visible()


def test_signing_in_transfers_a_guests_conversations(chat, database):
    user_id = uuid4()
    tab = chat.open()
    tab.ask("Hi")
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.locator("#settings-sign-in").click()
    tab.page.locator("#token").fill(token(user_id))
    tab.page.locator("#sign-in-form button[type=submit]").click()
    expect(tab.page.locator("#sign-in")).to_be_hidden()
    expect(tab.conversations).to_have_count(1)
    tab.wait_until(lambda: database.rows("select user_id from conversations") == [{"user_id": user_id}])


def test_without_anonymous_users_the_page_asks_for_a_token(serve_chat):
    tab = serve_chat(ALLOW_ANONYMOUS="false").open()
    tab.send("Hi")
    expect(tab.status).to_contain_text("sign in")
    tab.status.get_by_role("button", name="Sign in").click()
    expect(tab.page.locator("#sign-in")).to_be_visible()
