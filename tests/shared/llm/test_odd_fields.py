"""A field that a decoder does not need may have any value."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events import Finished, TextDelta, Usage
from shared.llm.anthropic_format import AnthropicFormat
from shared.llm.ollama_format import OllamaFormat
from shared.llm.openai_format import OpenAIFormat
from shared.llm.wire_format import WireFormat
from tests.shared.llm.streams import sse

# Good answers as JSON values, one for each event, with many fields that vendors send.
OPENAI_HEAD = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1767225600,
    "model": "gpt-6-sol",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "obfuscation": "x1",
    "event": None,
    "error": None,
}
OPENAI = [
    {
        **OPENAI_HEAD,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
        "usage": None,
    }
    for delta, reason in [
        ({"role": "assistant", "content": "", "refusal": None, "tool_calls": None}, None),
        ({"content": None, "reasoning_content": "Hm.", "reasoning": "Hm."}, None),
        ({"content": "Hello", "annotations": []}, None),
        ({"content": [{"type": "text", "text": " you.", "index": 0}]}, None),
        ({}, "stop"),
    ]
] + [
    {
        **OPENAI_HEAD,
        "choices": [],
        "usage": {
            "prompt_tokens": 1200,
            "completion_tokens": 15,
            "total_tokens": 1215,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 100, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
        },
    }
]
ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-5",
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 25,
                "cache_creation_input_tokens": 200,
                "cache_read_input_tokens": 1000,
                "cache_creation": {"ephemeral_5m_input_tokens": 200},
                "output_tokens": 1,
                "service_tier": "standard",
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQ="}},
    {"type": "content_block_stop", "index": 0},
    {"type": "ping", "time": 7},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": " you."}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 4}, "iterations": []},
    },
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {}},
]
OLLAMA_HEAD = {"model": "qwen3", "created_at": "2026-01-01T00:00:00Z", "error": None, "remote_model": ""}
OLLAMA: list[dict[str, Any]] = [
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "Hello", "tool_calls": None}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": " you.", "images": None}, "done": False},
    {
        **OLLAMA_HEAD,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 2_000_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": 26,
        "eval_count": 15,
    },
]


def ndjson(*lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


# The format, the answer, its encoder, and the fields that decoders need. Positions in lists are left out.
# `error` is among them, because a value that is not empty is an error.
FORMATS: dict[str, tuple[WireFormat, list[dict[str, Any]], Callable[[list[Any]], bytes], set[str]]] = {
    "openai": (
        OpenAIFormat(),
        OPENAI,
        lambda events: sse(*events) + b"data: [DONE]\n\n",
        {
            "choices",
            "choices.index",
            "choices.delta",
            "choices.delta.content",
            "choices.delta.content.type",
            "choices.delta.content.text",
            "choices.delta.refusal",
            "choices.finish_reason",
            "error",
            "usage.prompt_tokens",
            "usage.completion_tokens",
            "usage.prompt_tokens_details",
            "usage.prompt_tokens_details.cached_tokens",
            "usage.prompt_tokens_details.cache_write_tokens",
            "usage.completion_tokens_details",
            "usage.completion_tokens_details.reasoning_tokens",
        },
    ),
    "anthropic": (
        AnthropicFormat(),
        ANTHROPIC,
        lambda events: sse(*events),
        {
            "type",
            "message",
            "message.usage",
            "message.usage.input_tokens",
            "message.usage.cache_creation_input_tokens",
            "message.usage.cache_read_input_tokens",
            "content_block.type",
            "content_block.text",
            "delta",
            "delta.type",
            "delta.text",
            "delta.stop_reason",
            "usage",
            "usage.output_tokens",
            "usage.output_tokens_details",
            "usage.output_tokens_details.thinking_tokens",
        },
    ),
    "ollama": (
        OllamaFormat(),
        OLLAMA,
        lambda events: ndjson(*events),
        {
            "message",
            "message.content",
            "done",
            "done_reason",
            "error",
            "prompt_eval_count",
            "eval_count",
        },
    ),
}
ALL_FORMATS = pytest.mark.parametrize("name", FORMATS)
EMPTY_VALUES: list[object] = [
    None,
    "",
    0,
    False,
    [],
    {},
    {"code": None, "message": ""},
    [[]],
    {"a": {"b": []}},
]
ODD_VALUES: list[object] = [
    7,
    -1,
    True,
    "x",
    [7],
    ["x"],
    {"a": 7},
    [{"type": "text", "text": 7}],
    1e308,
    10**400,
]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["error", "stop", "text", "[DONE]", "data: ", 10**400]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)


def decode(name, events):
    """The text, the last usage and the last event."""
    wire_format, _, encode, _ = FORMATS[name]
    decoder = wire_format.decoder()
    result = [*decoder.feed(encode(events)), *decoder.close()]
    usage = [event for event in result if isinstance(event, Usage)]
    return "".join(event.text for event in result if isinstance(event, TextDelta)), usage[-1:], result[-1]


def fields_of(value, place=()):
    """The places of all fields: names and positions from the top of the value."""
    if isinstance(value, dict):
        for name, field in value.items():
            yield (*place, name)
            yield from fields_of(field, (*place, name))
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from fields_of(item, (*place, position))


def unneeded_fields(name):
    _, events, _, needed = FORMATS[name]
    return [
        place
        for place in fields_of(events)
        if ".".join(part for part in place if isinstance(part, str)) not in needed
        # The usage is needed in one of the events of OpenAI's format.
        and not (name == "openai" and place[1:] == ("usage",) and place[0] == len(events) - 1)
    ]


def replaced(value, place, other):
    if not place:
        return other
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], other)
    return copy


@ALL_FORMATS
def test_the_answers_are_good(name):
    text, [usage], end = decode(name, FORMATS[name][1])
    assert (text, usage.output, usage.estimated, end) == ("Hello you.", 15, False, Finished("stop"))
    assert len(unneeded_fields(name)) > 20


@ALL_FORMATS
@settings(max_examples=400)
@given(data=st.data())
def test_any_value_of_a_field_that_is_not_needed_changes_nothing(name, data):
    events = FORMATS[name][1]
    place = data.draw(st.sampled_from(unneeded_fields(name)))
    odd = replaced(events, place, data.draw(JSON_VALUES))
    assert decode(name, odd) == decode(name, events)


@ALL_FORMATS
@pytest.mark.parametrize("value", ODD_VALUES)
def test_an_odd_value_of_each_field_that_is_not_needed_changes_nothing(name, value):
    events = FORMATS[name][1]
    for place in unneeded_fields(name):
        assert decode(name, replaced(events, place, value)) == decode(name, events), place


@ALL_FORMATS
@pytest.mark.parametrize("value", EMPTY_VALUES)
def test_an_empty_value_of_a_field_that_is_not_needed_or_of_error_changes_nothing(name, value):
    events = FORMATS[name][1]
    errors = [place for place in fields_of(events) if place[-1] == "error"]
    for place in [*unneeded_fields(name), *errors]:
        assert decode(name, replaced(events, place, value)) == decode(name, events), place
