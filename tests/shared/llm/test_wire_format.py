"""The roles of a prompt."""

from hypothesis import given
from hypothesis import strategies as st

from shared.llm.wire_format import (
    BEFORE_ANSWER,
    ChatMessage,
    ChatRequest,
    alternating,
    without_system_role,
)

MESSAGES = st.lists(
    st.builds(ChatMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=3) | st.just(" \n"))
)


@given(MESSAGES)
def test_roles_alternate_and_begin_with_the_user_and_no_text_is_lost(messages):
    result = alternating(messages)
    assert [message.role for message in result] == (["user", "assistant"] * len(result))[: len(result)]
    texts = [message.content for message in messages if message.content.strip()]
    assert "\n\n".join(texts) == "\n\n".join(each.content for each in result).removeprefix(
        BEFORE_ANSWER + "\n\n"
    )
    assert alternating(result) == result


@given(MESSAGES)
def test_a_system_prompt_becomes_the_beginning_of_the_first_user_message(messages):
    chat_request = ChatRequest(messages=(*messages, ChatMessage("user", "Hi")), system="Be kind.")
    changed = without_system_role(chat_request)
    assert changed.system is None
    first = changed.messages[0]
    assert (first.role, first.content[:10]) == ("user", "Be kind.\n\n")
    assert tuple(alternating(changed.messages)) == changed.messages


def test_without_a_system_prompt_nothing_changes():
    chat_request = ChatRequest(messages=(ChatMessage("user", "Hi"),))
    assert without_system_role(chat_request) is chat_request


def test_an_answer_at_the_beginning_is_kept_after_a_short_message():
    greeting, question = ChatMessage("assistant", "What is your name?"), ChatMessage("user", "Ada")
    assert alternating([greeting, question]) == [ChatMessage("user", BEFORE_ANSWER), greeting, question]
