from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import Failed, Finished, ReasoningDelta, TextDelta
from shared.llm.openai_format import OpenAIFormat
from shared.llm.think_tags import AnswerStart
from tests.shared.llm.streams import openai_reasoning, openai_stream, openai_text

PIECES = ["<think>", "</think>", "<", "</", "think>", ">", " ", "\n", "a", "b<think>", "\N{NO-BREAK SPACE}"]


def read(text, mode="true", *, splits=(), has_reasoning=False):
    """The thinking and the text of an answer that comes in pieces, and whether text came."""
    start = AnswerStart(mode)
    thinking, rest = "", ""
    positions = [0, *sorted(splits), len(text)]
    for begin, end in pairwise(positions):
        piece = text[begin:end]
        if start.has_text:
            rest += piece
        else:
            more_thinking, more_text = start.feed(piece, has_reasoning=has_reasoning)
            thinking, rest = thinking + more_thinking, rest + more_text
    if not start.has_text:
        more_thinking, more_text = start.close()
        thinking, rest = thinking + more_thinking, rest + more_text
    return thinking, rest


@pytest.mark.parametrize(
    ("text", "thinking", "rest"),
    [
        ("Hello", "", "Hello"),
        (" \n Hello", "", " \n Hello"),
        ("<think>\nA plan.\n</think>\n\nHello", "\nA plan.\n", "Hello"),
        (" \n<think>A plan.</think>Hello", "A plan.", "Hello"),
        ("<think></think>Hello", "", "Hello"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a</think> <think>b</think>c", "a", "<think>b</think>c"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("Use <think>a</think>", "", "Use <think>a</think>"),
        ("`<think>`", "", "`<think>`"),
        ("</think>Hello", "", "</think>Hello"),
        ("<thinking>a", "", "<thinking>a"),
        ("<thi", "", "<thi"),
        (" <", "", " <"),
        ("<think>a</thin", "a</thin", ""),
        ("<think>a", "a", ""),
        ("<think>a</think> \n", "a", ""),
        (" \n", "", ""),
        ("", "", ""),
    ],
)
def test_only_a_tag_that_begins_the_answer_is_thinking(text, thinking, rest):
    assert read(text) == (thinking, rest)


@pytest.mark.parametrize(
    ("text", "thinking", "rest"),
    [
        ("A plan.\n</think>\nHello", "A plan.\n", "Hello"),
        ("<think>A plan.</think>Hello", "A plan.", "Hello"),
        ("</think>\n\nHello", "", "Hello"),
        ("Hello", "Hello", ""),
    ],
)
def test_an_answer_may_always_begin_with_thinking(text, thinking, rest):
    assert read(text, "closing") == (thinking, rest)


def test_text_is_text_if_the_server_sends_thinking_separately():
    assert read("Hello</think>", "closing", has_reasoning=True) == ("", "Hello</think>")


def test_tags_may_be_text():
    assert read(" <think>a</think>b", "false") == ("", " <think>a</think>b")


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.integers(0, 80)),
    st.sampled_from(["true", "closing", "false"]),
)
def test_every_split_of_an_answer_gives_the_same_thinking_and_text(text, splits, mode):
    assert read(text, mode, splits=[min(at, len(text)) for at in splits]) == read(text, mode)


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from(["true", "closing", "false"]))
def test_the_decoder_finds_the_same_thinking_and_text(pieces, mode):
    decoder = OpenAIFormat().decoder(mode)
    events = [*decoder.feed(openai_stream(*map(openai_text, pieces))), *decoder.close()]
    *deltas, end = events
    thinking = "".join(event.text for event in deltas if isinstance(event, ReasoningDelta))
    text = "".join(event.text for event in deltas if isinstance(event, TextDelta))
    assert (thinking, text) == read("".join(pieces), mode)
    assert isinstance(end, Finished if text else Failed)


def test_thinking_that_never_ends_is_an_empty_answer():
    decoder = OpenAIFormat().decoder()
    stream = openai_stream(openai_text("<think>"), openai_text("a"))
    assert decoder.feed(stream) == [
        ReasoningDelta("a"),
        Failed("empty_answer", "the model's answer has no text", retryable=True),
    ]


def test_a_server_with_a_field_for_thinking_may_be_set_to_closing_tags():
    decoder = OpenAIFormat().decoder("closing")
    stream = openai_stream(openai_reasoning("Hm."), openai_text("Hello"))
    assert decoder.feed(stream) == [ReasoningDelta("Hm."), TextDelta("Hello"), Finished("stop")]
