"""The bound of an answer: how many events and bytes of an answer pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.chat_stream.answer_bound import AnswerBound
from shared.events import Finished, ReasoningDelta, TextDelta, Usage

texts = st.text(min_size=1, max_size=40)
deltas = st.one_of(st.builds(TextDelta, texts), st.builds(ReasoningDelta, texts))
reads = st.lists(st.lists(deltas, max_size=8), max_size=20)


def limited(max_tokens, *reads):
    bound, passed = AnswerBound(max_tokens), []
    for events in reads:
        passed += bound.limit(events)
        if bound.is_exceeded:
            break
    return passed, bound.is_exceeded


@given(st.integers(1, 30), reads)
def test_an_answer_has_at_most_its_tokens_and_is_otherwise_unchanged(max_tokens, reads):
    passed, is_exceeded = limited(max_tokens, *reads)
    sent = [event for events in reads for event in events]
    assert len(passed) <= max_tokens
    assert sum(len(event.text.encode()) for event in passed) <= 8 * max_tokens
    assert is_exceeded == (passed != sent)
    whole = "".join(event.text for event in sent)
    assert whole.startswith("".join(event.text for event in passed))


def test_the_events_after_the_bound_are_left_out():
    events = [TextDelta("a"), TextDelta("b"), TextDelta("c"), Usage(1, 3), Finished("stop")]
    assert limited(2, events) == ([TextDelta("a"), TextDelta("b")], True)


def test_an_answer_of_exactly_the_bound_keeps_its_end():
    events = [TextDelta("a"), ReasoningDelta("b"), Usage(1, 2), Finished("length")]
    assert limited(2, events) == (events, False)


@pytest.mark.parametrize(
    ("text", "expected"), [("x" * 17, "x" * 16), ("xx" + "日" * 5, "xx" + "日" * 4), ("😀" * 9, "😀" * 4)]
)
def test_an_answer_in_one_piece_is_cut_between_characters(text, expected):
    assert limited(2, [TextDelta(text), Finished("stop")]) == ([TextDelta(expected)], True)
