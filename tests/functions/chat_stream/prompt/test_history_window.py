"""Properties of the history window: which messages of a long conversation a model gets."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.chat_stream.prompt.history_window import history_limits, window_start
from functions.chat_stream.records import HistoryLimits
from tests.serving import settings

sizes = st.lists(st.integers(1, 1000), min_size=1, max_size=120)
limits = st.builds(
    lambda messages, text_bytes: HistoryLimits(messages, max(1, messages // 2), text_bytes),
    st.integers(1, 40),
    st.integers(0, 30_000),
)


def kept(sizes: list[int], limits: HistoryLimits) -> list[int]:
    return sizes[window_start(sizes, len(sizes), limits) :]


@given(sizes, limits)
def test_the_window_fits_or_is_the_question_alone(sizes, limits):
    window = kept(sizes, limits)
    assert window[-1:] == sizes[-1:]
    assert sum(window) <= limits.text_bytes or len(window) == 1


@given(sizes, limits)
def test_at_least_the_wanted_messages_are_sent_while_they_fit(sizes, limits):
    wanted = sizes[-limits.messages :]
    if sum(wanted) <= limits.text_bytes:
        assert len(wanted) <= len(kept(sizes, limits)) < limits.messages + limits.step


@given(sizes, limits)
def test_two_thirds_of_the_messages_that_fit_are_sent(sizes, limits):
    fitting = max(
        [count for count in range(1, len(sizes) + 1) if sum(sizes[-count:]) <= limits.text_bytes], default=1
    )
    assert len(kept(sizes, limits)) >= min(limits.messages, -(-2 * fitting // 3))


@given(sizes, limits)
def test_a_conversation_that_fits_is_sent_whole(sizes, limits):
    if len(sizes) < limits.messages + limits.step and sum(sizes) <= limits.text_bytes:
        assert kept(sizes, limits) == sizes


@given(st.integers(2, 40), st.integers(1, 200))
def test_the_window_begins_at_the_same_message_until_a_step_is_full(messages, count):
    limits = HistoryLimits(messages, messages // 2, 10**9)

    def first(count: int) -> int:
        return window_start([1] * count, count, limits)

    assert first(count) % limits.step == 0
    assert first(count + 1) - first(count) in {0, limits.step}
    assert first(count + limits.step) - first(count) in {0, limits.step}


@given(st.integers(1, 60), st.integers(0, 60), limits)
def test_the_window_depends_on_the_whole_conversation_and_not_on_how_much_of_it_was_read(
    count, unread, limits
):
    """The database returns the newest messages, one more than fit if they do not fit."""
    read = [100] * count
    whole = window_start([100] * (unread + count), unread + count, limits)
    if sum(read) > limits.text_bytes and count <= limits.messages:
        assert window_start(read, unread + count, limits) == whole - unread


def test_a_window_of_equal_messages_keeps_its_beginning_when_bytes_limit_it():
    limits = HistoryLimits(messages=20, step=10, text_bytes=1200)  # twelve messages of 100 bytes
    starts = [window_start([100] * count, count, limits) for count in range(1, 60)]
    changes = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert set(changes) == {0, 5}  # half of the step; eight to twelve messages are sent
    assert starts[-1] == 50


@pytest.mark.parametrize(
    ("environ", "model", "tokens"),
    [
        # The model's context less the answer and the system prompt (2 tokens).
        ({}, "openai/gpt-4", 8192 - 1000 - 2),
        ({}, "openai/gpt-4-2025-01-01", 8192 - 1000 - 2),
        ({"HISTORY_TOKENS": "500"}, "openai/gpt-4", 500),
        ({"HISTORY_TOKENS": "100000"}, "openai/gpt-4", 8192 - 1000 - 2),
        ({}, "ollama/qwen3", 32_000),
        ({"HISTORY_TOKENS": "100000"}, "ollama/qwen3", 100_000),
    ],
)
def test_the_tokens_are_those_of_the_setting_and_of_the_models_context(environ, model, tokens):
    found = history_limits(settings("postgresql://", **environ), model, system="Be kind.", max_tokens=1000)
    assert found == HistoryLimits(messages=20, step=10, text_bytes=4 * tokens)


def test_an_answer_larger_than_the_model_allows_leaves_room_for_history():
    found = history_limits(settings("postgresql://"), "openai/gpt-4", system="", max_tokens=1_000_000)
    assert found.text_bytes == 4 * (8192 - 4096)
