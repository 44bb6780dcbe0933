"""The page when the network, the server or the page itself goes away in the middle of an answer."""

from uuid import uuid4

from playwright.sync_api import expect

from dev.mock_llm import answer_text
from tests.serving import mocked, server_process
from tests.web.browser import needs_chromium

pytestmark = needs_chromium

SLOW = "mock:tokens=80,gap=50ms"
TEXT = answer_text("tokens=80")


def expect_whole(tab, chat, mock):
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    expect(tab.messages).to_have_count(2)
    assert chat.stored() == [("user", "complete", SLOW), ("assistant", "complete", TEXT)]
    assert mock.stats()["hits"] == 1


def test_a_reload_in_mid_answer_picks_it_up_again(chat, mock):
    tab = chat.open()
    tab.say(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    tab.page.reload()
    expect(tab.answer).to_have_attribute("data-status", "streaming")
    expect(tab.stop_button).to_be_visible()
    expect_whole(tab, chat, mock)


def test_a_reload_before_the_first_word_does_not_ask_again(chat, mock):
    tab = chat.open()
    tab.say(SLOW + ",first=1s")
    expect(tab.messages).to_have_count(2)
    tab.page.reload()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    assert [role for role, *_ in chat.stored()] == ["user", "assistant"]
    assert mock.stats()["hits"] == 1


def test_a_network_that_comes_back_loses_and_doubles_nothing(chat, mock):
    tab = chat.open()
    tab.say(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    chat.proxy.lose_network()
    expect(tab.status).to_contain_text("Reconnecting")
    chat.proxy.find_network()
    expect_whole(tab, chat, mock)
    expect(tab.status).not_to_contain_text("Reconnecting")


def test_a_message_whose_reply_is_lost_is_sent_once(chat, mock):
    tab = chat.open()
    tab.ask("Hi")
    mock.reset()
    chat.proxy.cut()
    chat.proxy.lose_answers_after = 0
    tab.say(SLOW)
    expect(tab.status).to_contain_text("Reconnecting")
    chat.proxy.lose_answers_after = None
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    assert len(chat.stored()) == 4
    assert mock.stats()["hits"] == 1


def test_a_browser_that_is_offline_says_so(chat, mock):
    context = chat.context()
    tab = chat.open(context)
    tab.say(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    context.set_offline(True)
    chat.proxy.lose_network()
    expect(tab.status).to_contain_text("offline")
    chat.proxy.find_network()
    context.set_offline(False)
    expect_whole(tab, chat, mock)


def test_a_server_that_is_killed_and_comes_back_gives_what_it_had_saved(chat, database, mock):
    environ = mocked(database.url, mock, "openai/mock:obey", ALLOW_ANONYMOUS="true")
    tab = chat.open()
    with server_process(environ) as (url, process):
        chat.proxy.target = url
        chat.proxy.cut()
        tab.say(SLOW)
        expect(tab.answer).to_contain_text("ipsum dolor")
        tab.wait_until(lambda: chat.stored()[1][2])
        process.kill()
        expect(tab.status).to_contain_text("Reconnecting")
    database.rows("update turns set lease_expires_at = now() - interval '1 minute'")
    with server_process(environ) as (url, _):
        chat.proxy.target = url
        expect(tab.answer).to_have_attribute("data-status", "interrupted")
        tab.answer.get_by_role("button", name="Continue").click()
        expect(tab.answers).to_have_count(2)
        expect(tab.answer).to_have_attribute("data-status", "complete")


def test_two_tabs_show_the_same_answer(chat, mock):
    context = chat.context()
    user_id = uuid4()
    one = chat.open(context, user_id=user_id)
    one.ask("Hi")
    mock.reset()
    two = chat.open(context, user_id=user_id, conversation_id=one.conversation_id)
    expect(two.answers).to_have_count(1)
    one.say(SLOW)
    expect(one.answer).to_contain_text("ipsum dolor")
    two.page.bring_to_front()
    two.page.evaluate("dispatchEvent(new Event('focus'))")
    expect(two.answers).to_have_count(2)
    for tab in (one, two):
        expect(tab.answer).to_have_attribute("data-status", "complete")
        assert tab.text_of(tab.answer) == TEXT
    assert mock.stats()["hits"] == 1
