import msgspec
import pytest

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta
from shared.llm.anthropic_format import AnthropicFormat
from shared.llm.decoding import count, parse
from shared.llm.ollama_format import OllamaFormat
from shared.llm.openai_format import OpenAIFormat
from shared.llm.wire_format import WireFormat

# For each wire format: a text delta, a reasoning delta, and the end. %b is the content of a JSON string.
FORMATS = {
    "anthropic": (
        AnthropicFormat(),
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"%b"}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"%b"}}\n\n',
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'  # noqa: ISC004
        b'data: {"type":"message_stop"}\n\n',
    ),
    "openai": (
        OpenAIFormat(),
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n',
        b'data: {"choices":[{"delta":{"reasoning_content":"%b"}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "ollama": (
        OllamaFormat(),
        b'{"message":{"content":"%b"},"done":false}\n',
        b'{"message":{"content":"","thinking":"%b"},"done":false}\n',
        b'{"done":true,"done_reason":"stop"}\n',
    ),
}
ALL_FORMATS = pytest.mark.parametrize(
    ("wire_format", "text", "thinking", "end"), FORMATS.values(), ids=FORMATS.keys()
)


def decode(wire_format: WireFormat, *reads: bytes) -> list[Event]:
    decoder = wire_format.decoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.close()


@ALL_FORMATS
@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (b"a\0b", "a\ufffdb"),
        (rb"a\ud800b", "a\ufffdb"),
        (rb"\udc00", "\ufffd"),
        (rb"\ude00\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (b"a\xffb", "a\ufffdb"),
        (rb"a\nb\tc", "a\nb\tc"),
        (b"a\tb", "a\tb"),
        (rb"\u2028 [DONE]", "\u2028 [DONE]"),
        ("Grüß dich \u200d 😀".encode(), "Grüß dich \u200d 😀"),
    ],
)
def test_text_has_no_nul_and_no_lone_surrogates(wire_format, text, thinking, end, letters, expected):
    assert decode(wire_format, text % letters, end) == [TextDelta(expected), Finished("stop")]
    assert decode(wire_format, thinking % letters, text % b"!", end) == [
        ReasoningDelta(expected),
        TextDelta("!"),
        Finished("stop"),
    ]


@ALL_FORMATS
def test_the_halves_of_a_character_in_two_deltas_are_joined(wire_format, text, thinking, end):
    halves = [text % rb"a\ud83d", text % rb"\ude00b", end]
    whole = [TextDelta("a"), TextDelta("\U0001f600b"), Finished("stop")]
    assert decode(wire_format, *halves) == decode(wire_format, b"".join(halves)) == whole
    both_halves = [text % rb"\ud83d", text % rb"\ude00", end]
    assert decode(wire_format, *both_halves) == [TextDelta("\U0001f600"), Finished("stop")]


@ALL_FORMATS
def test_half_a_character_is_replaced_when_its_other_half_does_not_come(wire_format, text, thinking, end):
    half = text % rb"a\ud83d"
    assert decode(wire_format, half, text % b"b", text % b"c", end) == [
        TextDelta("a"),
        TextDelta("\ufffdb"),
        TextDelta("c"),
        Finished("stop"),
    ]
    assert decode(wire_format, half, half, end) == [
        TextDelta("a"),
        TextDelta("\ufffda"),
        TextDelta("\ufffd"),
        Finished("stop"),
    ]
    assert decode(wire_format, half, thinking % rb"\ude00", end) == [
        TextDelta("a"),
        TextDelta("\ufffd"),
        ReasoningDelta("\ufffd"),
        Finished("stop"),
    ]


@ALL_FORMATS
def test_half_a_character_at_the_end_is_replaced(wire_format, text, thinking, end):
    assert decode(wire_format, thinking % rb"\ud83d", text % b"!", end)[0] == ReasoningDelta("\ufffd")
    assert decode(wire_format, text % b"a", thinking % rb"\ud83d", end) == [
        TextDelta("a"),
        ReasoningDelta("\ufffd"),
        Finished("stop"),
    ]
    events = decode(wire_format, text % rb"\ud83d")
    assert events[0] == TextDelta("\ufffd")
    assert isinstance(events[1], Failed)


@ALL_FORMATS
def test_every_character_is_kept_or_replaced(wire_format, text, thinking, end):
    letters = "".join(f"\\u{unit:04x}" for unit in range(0x10000)).encode()
    [delta, _] = decode(wire_format, text % letters, end)
    assert isinstance(delta, TextDelta)
    assert "\0" not in delta.text
    delta.text.encode()
    # In this order only one pair of surrogates is valid: the last high one with the first low one.
    assert len(delta.text) == 0x10000 - 1
    assert delta.text.count("\ufffd") == 1 + (0x800 - 2) + 1


def test_parse_returns_none_for_data_of_another_type():
    numbers = msgspec.json.Decoder(list[int])
    assert parse(numbers, b"[1]") == [1]
    assert parse(numbers, b'["1", 2.0]') == [1, 2]
    for data in (b"", b"[", b"{}", b'["x"]', b"[1e999]", b"[NaN]", b"[" * 100_000, b"[" + b"9" * 5000 + b"]"):
        assert parse(numbers, data) is None


def test_a_count_is_a_number_that_fits_its_column():
    assert [count(value) for value in (0, 7, 2**31 - 1, "7", 7.0)] == [0, 7, 2**31 - 1, 7, 7]
    unknown: list[object] = [
        None,
        -1,
        2**31,
        10**30,
        1.5,
        float("inf"),
        True,
        "",
        "-1",
        "x",
        "1" * 5000,
        [],
        {},
    ]
    assert {count(value) for value in unknown} == {None}
