"""The page when the network or the server fails, or the page is reloaded, during an answer."""

from uuid import uuid4

from playwright.sync_api import expect

from dev.mock_llm import answer_text
from tests.serving import mocked, server_process
from tests.web.browser import needs_chromium

pytestmark = needs_chromium

SLOW = "mock:tokens=80,gap=50ms"
TEXT = answer_text("tokens=80")


def expect_complete_once(tab, chat, mock):
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    expect(tab.messages).to_have_count(2)
    assert chat.stored_messages() == [("user", "complete", SLOW), ("assistant", "complete", TEXT)]
    assert mock.stats()["hits"] == 1


def test_a_reload_during_an_answer_resumes_it(chat, mock):
    tab = chat.open()
    tab.send(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    tab.page.reload()
    expect(tab.answer).to_have_attribute("data-status", "streaming")
    expect(tab.stop_button).to_be_visible()
    expect_complete_once(tab, chat, mock)


def test_a_reload_before_the_first_text_does_not_call_the_model_again(chat, mock):
    tab = chat.open()
    tab.send(SLOW + ",first=1s")
    expect(tab.messages).to_have_count(2)
    tab.page.reload()
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    assert [role for role, *_ in chat.stored_messages()] == ["user", "assistant"]
    assert mock.stats()["hits"] == 1


def test_after_a_network_failure_the_answer_is_complete_and_stored_once(chat, mock):
    tab = chat.open()
    tab.send(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    chat.proxy.lose_network()
    expect(tab.status).to_contain_text("Reconnecting")
    chat.proxy.find_network()
    expect_complete_once(tab, chat, mock)
    expect(tab.status).not_to_contain_text("Reconnecting")


def test_a_message_whose_response_is_lost_is_stored_once(chat, mock):
    tab = chat.open()
    tab.ask("Hi")
    mock.reset()
    chat.proxy.cut()
    chat.proxy.lose_answers_after = 0
    tab.send(SLOW)
    expect(tab.status).to_contain_text("Reconnecting")
    chat.proxy.lose_answers_after = None
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_have_attribute("data-status", "complete")
    assert tab.text_of(tab.answer) == TEXT
    assert len(chat.stored_messages()) == 4
    assert mock.stats()["hits"] == 1


def test_an_offline_browser_shows_that_it_is_offline(chat, mock):
    context = chat.context()
    tab = chat.open(context)
    tab.send(SLOW)
    expect(tab.answer).to_contain_text("ipsum dolor")
    context.set_offline(True)
    chat.proxy.lose_network()
    expect(tab.status).to_contain_text("offline")
    chat.proxy.find_network()
    context.set_offline(False)
    expect_complete_once(tab, chat, mock)


def test_after_a_server_crash_the_saved_part_of_the_answer_is_shown(chat, database, mock):
    environ = mocked(database.url, mock, "openai/mock:obey", ALLOW_ANONYMOUS="true")
    tab = chat.open()
    with server_process(environ) as (url, process):
        chat.proxy.target = url
        chat.proxy.cut()
        tab.send(SLOW)
        expect(tab.answer).to_contain_text("ipsum dolor")
        tab.wait_until(lambda: chat.stored_messages()[1][2])
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
    first = chat.open(context, user_id=user_id)
    first.ask("Hi")
    mock.reset()
    second = chat.open(context, user_id=user_id, conversation_id=first.conversation_id)
    expect(second.answers).to_have_count(1)
    first.send(SLOW)
    expect(first.answer).to_contain_text("ipsum dolor")
    second.page.bring_to_front()
    second.page.evaluate("dispatchEvent(new Event('focus'))")
    expect(second.answers).to_have_count(2)
    for tab in (first, second):
        expect(tab.answer).to_have_attribute("data-status", "complete")
        assert tab.text_of(tab.answer) == TEXT
    assert mock.stats()["hits"] == 1
