"""Prompts that do not fit into a model's context."""

from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ContextLengthExceeded
from shared.llm.shortening import fits, prompt_bytes, shorten
from shared.llm.wire_format import ChatMessage, ChatRequest

QUESTION = ChatMessage("user", "And now?")


def conversation(turns, size=600, **fields):
    messages = [ChatMessage(role, str(n) * size) for n in range(turns) for role in ("user", "assistant")]
    return ChatRequest(messages=(*messages, QUESTION), **fields)


def refusal(limit=None, prompt_tokens=None):
    return ContextLengthExceeded("too long", limit=limit, prompt_tokens=prompt_tokens)


def shortened(chat_request, error, context=None):
    shorter = shorten(chat_request, error, context)
    assert shorter is not None
    return shorter


def test_the_oldest_turns_are_left_out_until_prompt_and_answer_fit():
    chat_request = conversation(9, system="Be kind.", max_tokens=1000)
    shorter = shortened(chat_request, refusal(limit=3000))
    assert shorter.system == "Be kind."
    assert shorter.max_tokens == 1000
    assert shorter.messages == chat_request.messages[-len(shorter.messages) :]
    assert shorter.messages[0].role == "user"
    assert 3 <= len(shorter.messages) < len(chat_request.messages)
    assert fits(shorter, 3000)


def test_the_answer_gets_half_of_the_context_at_most():
    shorter = shortened(conversation(0, max_tokens=4096), refusal(limit=4096))
    assert (shorter.messages, shorter.max_tokens) == ((QUESTION,), 2048)


def test_the_context_of_the_model_is_used_if_the_provider_does_not_say_its_limit():
    chat_request = conversation(9, max_tokens=1000)
    assert shorten(chat_request, refusal(), 3000) == shortened(chat_request, refusal(limit=3000))


def test_the_providers_count_is_used_for_text_with_more_tokens_than_usual():
    chat_request = conversation(9, max_tokens=1000)
    dense = shortened(chat_request, refusal(limit=8000, prompt_tokens=prompt_bytes(chat_request)))
    assert prompt_bytes(dense) + dense.max_tokens <= 8000
    assert len(dense.messages) < len(shortened(chat_request, refusal(limit=4000)).messages) + 4


def test_half_of_the_prompt_is_left_out_if_no_limit_is_known():
    chat_request = conversation(9)
    shorter = shortened(chat_request, refusal())
    assert prompt_bytes(shorter) <= prompt_bytes(chat_request) / 2
    assert shorter.max_tokens == chat_request.max_tokens


def test_half_of_the_prompt_is_left_out_if_it_fits_by_our_count_but_not_by_the_providers():
    chat_request = conversation(9, max_tokens=100)
    assert fits(chat_request, 100_000)
    assert len(shortened(chat_request, refusal(limit=100_000)).messages) < len(chat_request.messages)


def test_nothing_is_left_of_the_smallest_request():
    assert shorten(conversation(0, max_tokens=256), refusal(limit=100_000), None) is None
    assert shorten(conversation(0, max_tokens=256), refusal(), None) is None


@given(
    st.lists(st.builds(ChatMessage, st.sampled_from(["user", "assistant"]), st.text()), max_size=8),
    st.text(),
    st.integers(1, 100_000),
    st.none() | st.integers(1, 1_000_000),
    st.none() | st.integers(1, 1_000_000),
)
def test_a_shortened_request_is_smaller_and_keeps_the_system_prompt_and_the_question(
    older, system, max_tokens, limit, prompt_tokens
):
    chat_request = ChatRequest(messages=(*older, QUESTION), system=system, max_tokens=max_tokens)
    shorter = shorten(chat_request, refusal(limit, prompt_tokens), None)
    if shorter is None:
        assert max_tokens <= 256
        return
    assert shorter != chat_request
    assert 1 <= shorter.max_tokens <= max_tokens
    assert shorter.system == system
    assert shorter.messages == chat_request.messages[len(chat_request.messages) - len(shorter.messages) :]
    assert shorter.messages[-1] == QUESTION
