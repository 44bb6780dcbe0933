"""The sidebar: list, search, rename, delete and undo; and drafts."""

import re
from uuid import uuid4

from playwright.sync_api import expect

from tests.web.browser import needs_chromium
from tests.web.chat_page import ChatPage, create_conversation

pytestmark = needs_chromium


def titles(tab: ChatPage) -> list[str]:
    return tab.conversations.locator("a").all_text_contents()


def test_a_new_conversation_is_first_and_links_open_conversations(chat):
    tab = chat.open()
    tab.ask("The first one")
    first = tab.conversation_id
    tab.page.get_by_role("button", name="New chat").click()
    expect(tab.messages).to_have_count(0)
    expect(tab.field).to_be_focused()
    tab.ask("The second one")
    expect(tab.conversations).to_have_count(2)
    assert titles(tab) == ["The second one", "The first one"]
    expect(tab.conversations.first.locator("a")).to_have_attribute("aria-current", "page")
    tab.conversations.last.locator("a").click()
    expect(tab.messages.first).to_contain_text("The first one")
    assert tab.conversation_id == first
    tab.page.go_back()
    expect(tab.messages.first).to_contain_text("The second one")


def open_with_130_conversations(chat, database):
    user_id = uuid4()
    database.rows(
        "insert into conversations (id, user_id, title, created_at)"
        " select gen_random_uuid(), %s, 'Number ' || n, now() - make_interval(mins => n)"
        " from generate_series(1, 130) as n",
        (user_id,),
    )
    tab = chat.open(user_id=user_id)
    expect(tab.conversations.first).to_contain_text("Number 1")
    assert tab.conversations.count() < 130
    return tab


def test_scrolling_loads_the_next_page_of_the_list(chat, database):
    tab = open_with_130_conversations(chat, database)
    tab.page.locator("#conversations").hover()

    def scroll():
        # With a pause, because a browser sends all events of one gesture to the element that scrolled first.
        tab.page.mouse.wheel(0, 2000)
        tab.page.wait_for_timeout(600)
        return tab.conversations.count() == 130

    tab.wait_until(scroll)
    assert titles(tab) == [f"Number {n}" for n in range(1, 131)]


def test_the_list_loads_all_pages_while_its_end_stays_visible(chat, database):
    tab = open_with_130_conversations(chat, database)
    tab.page.evaluate("""() => {
        const list = document.querySelector("#conversations");
        const toEnd = () => (list.scrollTop = list.scrollHeight);
        new MutationObserver(toEnd).observe(list, { childList: true, subtree: true });
        toEnd();
    }""")
    expect(tab.conversations).to_have_count(130)


def test_a_conversation_is_renamed(chat, database):
    tab = chat.open()
    tab.ask("Hi")
    row = tab.conversations.first
    row.hover()
    row.get_by_role("button", name="Rename").click()
    tab.page.keyboard.type("A better name")
    tab.page.keyboard.press("Enter")
    expect(row.locator("a")).to_have_text("A better name")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("A better name")
    tab.wait_until(lambda: database.rows("select title from conversations") == [{"title": "A better name"}])
    row.hover()
    row.get_by_role("button", name="Rename").click()
    tab.page.keyboard.type("Not this one")
    tab.page.keyboard.press("Escape")
    expect(row.locator("a")).to_have_text("A better name")


def test_a_deletion_can_be_undone_and_happens_after_the_timeout(chat, database):
    tab = chat.open()
    tab.page.clock.install()
    tab.ask("Hi")
    row = tab.conversations.first
    row.hover()
    row.get_by_role("button", name="Delete").click()
    expect(tab.conversations).to_have_count(0)
    tab.page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(tab.conversations).to_have_count(1)
    tab.page.clock.run_for(20_000)
    expect(tab.conversations).to_have_count(1)
    row.hover()
    row.get_by_role("button", name="Delete").click()
    expect(tab.conversations).to_have_count(0)
    assert len(database.rows("select 1 from conversations")) == 1
    tab.page.clock.run_for(20_000)
    tab.wait_until(lambda: database.rows("select 1 from conversations") == [])
    expect(tab.messages).to_have_count(0)


def test_closing_the_page_completes_a_deletion(chat, database):
    tab = chat.open()
    tab.ask("Hi")
    row = tab.conversations.first
    row.hover()
    row.get_by_role("button", name="Delete").click()
    tab.page.close()
    other = chat.open()
    other.wait_until(lambda: database.rows("select 1 from conversations") == [])


def test_a_search_result_scrolls_to_its_message(chat, database):
    user_id = uuid4()
    contents = [f"Message {n} of many" for n in range(300)]
    contents[20] = "The one with a pangolin in it"
    create_conversation(database, user_id, *contents, title="Animals")
    tab = chat.open(user_id=user_id)
    tab.page.get_by_role("searchbox").fill("pangolin")
    results = tab.page.locator("#results li")
    expect(results).to_have_count(1)
    expect(results.locator("mark")).to_have_text(re.compile("pangolin"))
    results.locator("a").click()
    found = tab.messages.filter(has_text="pangolin")
    expect(found).to_be_in_viewport()
    expect(found).to_be_focused()
    tab.page.get_by_role("searchbox").fill("nothing like it")
    expect(results).to_have_count(0)
    tab.page.get_by_role("searchbox").press("Escape")
    expect(tab.conversations).to_have_count(1)


def test_each_conversation_has_a_draft_that_survives_a_reload(chat):
    tab = chat.open()
    tab.ask("The first one")
    tab.field.fill("a draft")
    tab.page.get_by_role("button", name="New chat").click()
    expect(tab.field).to_have_value("")
    tab.field.fill("another draft")
    tab.conversations.first.locator("a").click()
    expect(tab.field).to_have_value("a draft")
    tab.page.reload()
    expect(tab.field).to_have_value("a draft")
    tab.page.get_by_role("button", name="New chat").click()
    expect(tab.field).to_have_value("another draft")


def test_a_missing_conversation_shows_an_error(chat):
    tab = chat.open()
    tab.ask("Hi")
    tab.page.goto(f"{chat.proxy.url}/#c={uuid4()}")
    expect(tab.status).not_to_be_empty()
    tab.page.get_by_role("button", name="New chat").click()
    tab.ask("Hi again")
