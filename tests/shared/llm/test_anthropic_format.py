import json

import pytest

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.anthropic_format import AnthropicFormat
from shared.llm.providers import ProviderSettings, find_target
from shared.llm.wire_format import BEFORE_ANSWER, ChatMessage, ChatRequest, Role

ANSWER = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":200,"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":200},"output_tokens":1,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüß"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location","text":"no"}}}

event: something_new
data: {"type":"something_new","delta":{"type":"text_delta","text":"no"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" dich 😀!"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15,"output_tokens_details":{"thinking_tokens":4}}}

event: message_stop
data: {"type":"message_stop"}

""".encode()  # noqa: E501
EVENTS = [
    Usage(input=1225, output=0, cache_read=1000, cache_write=200, estimated=True),
    ReasoningDelta("Let me see."),
    TextDelta("Grüß"),
    TextDelta(" dich 😀!"),
    Usage(input=1225, output=15, cache_read=1000, cache_write=200, reasoning=4),
    Finished("stop"),
]


def decode(*reads: bytes) -> list[Event]:
    decoder = AnthropicFormat().decoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.close()


def text(letters: str) -> bytes:
    """A text delta. `letters` are the content of a JSON string."""
    return (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n'
        % letters.encode()
    )


def message_delta(reason: str, usage: str = "null") -> bytes:
    return b'data: {"type":"message_delta","delta":{"stop_reason":%b},"usage":%b}\n\n' % (
        reason.encode(),
        usage.encode(),
    )


INVALID = Failed("upstream_invalid", "the model provider sent invalid data", retryable=False)
TRUNCATED = Failed(
    "upstream_truncated", "the model provider's answer ended before its end mark", retryable=True
)
EMPTY = Failed("empty_answer", "the model's answer has no text", retryable=True)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def request(chat: ChatRequest, api_key: str | None = "k"):
    configured = {"anthropic": ProviderSettings(base_url="https://api.anthropic.com")}
    http_request = AnthropicFormat().request(
        chat, find_target("anthropic/claude-sonnet-5-5", configured), api_key
    )
    return http_request, json.loads(http_request.body)


def chat(*messages: tuple[Role, str], **fields) -> ChatRequest:
    return ChatRequest(
        messages=tuple(ChatMessage(role, content) for role, content in messages),
        **fields,
    )


def test_a_request():
    http_request, body = request(chat(("user", "Hi"), system="Be kind.", max_tokens=100, temperature=0.7))
    assert http_request.url == "https://api.anthropic.com/v1/messages"
    assert http_request.headers == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "k",
    }
    assert body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "system": "Be kind.",
        "temperature": 0.7,
    }


def test_parameters_without_a_value_are_not_sent():
    http_request, body = request(chat(("user", "Hi")), None)
    assert "x-api-key" not in http_request.headers
    assert body.keys() == {"model", "max_tokens", "messages", "stream"}


def test_messages_start_with_the_user_and_alternate():
    _, body = request(
        chat(
            ("assistant", "Welcome!"),
            ("user", "One"),
            ("user", "Two"),
            ("assistant", "A"),
            ("assistant", " \n"),
            ("assistant", "B"),
            ("user", ""),
            ("user", "Three"),
        )
    )
    assert body["messages"] == [
        {"role": "user", "content": BEFORE_ANSWER},
        {"role": "assistant", "content": "Welcome!"},
        {"role": "user", "content": "One\n\nTwo"},
        {"role": "assistant", "content": "A\n\nB"},
        {"role": "user", "content": "Three"},
    ]


def test_an_answer():
    assert decode(ANSWER) == EVENTS


def test_an_answer_split_at_every_byte():
    for i in range(len(ANSWER)):
        assert decode(ANSWER[:i], ANSWER[i:]) == EVENTS


def test_an_answer_byte_by_byte():
    assert decode(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))) == EVENTS


def test_an_event_is_returned_by_the_read_that_completes_it():
    decoder = AnthropicFormat().decoder()
    assert decoder.feed(text("a") + text("b")[:-1]) == [TextDelta("a")]
    assert decoder.feed(b"\n") == [TextDelta("b")]


def test_a_block_may_start_with_text():
    start = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}\n\n'
    assert decode(start, message_delta('"end_turn"'), STOP) == [TextDelta("Hi"), Finished("stop")]


@pytest.mark.parametrize(
    ("vendor_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("END_TURN", "stop"),
    ],
)
def test_stop_reasons(vendor_reason, finish_reason):
    assert decode(text("a"), message_delta(f'"{vendor_reason}"'), STOP) == [
        TextDelta("a"),
        Finished(finish_reason),
    ]


@pytest.mark.parametrize("vendor_reason", ['"never_heard_of"', "7", "[1]"])
def test_an_unknown_stop_reason_is_an_error_that_keeps_text_and_usage(vendor_reason):
    usage = '{"input_tokens":7,"output_tokens":2}'
    assert decode(text("a"), message_delta(vendor_reason, usage), STOP) == [
        TextDelta("a"),
        Usage(7, 2),
        Failed("upstream_error", "the model provider ended the answer with an error", retryable=True),
    ]


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n", STOP[:-1], STOP[:-2], STOP[:30]])
def test_an_answer_with_a_stop_reason_is_whole_without_its_last_event(end):
    assert decode(text("a"), message_delta('"end_turn"'), end) == [TextDelta("a"), Finished("stop")]


def test_the_last_event_may_have_no_blank_line():
    assert decode(text("a"), message_delta('"end_turn"')[:-2]) == [TextDelta("a"), Finished("stop")]


def test_later_usage_replaces_earlier_and_is_final_with_the_stop_reason():
    start = b'data: {"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}\n\n'
    assert decode(
        start,
        text("a"),
        message_delta("null", '{"output_tokens":5,"input_tokens":null}'),
        message_delta('"end_turn"', '{"output_tokens":9,"input_tokens":12,"cache_read_input_tokens":3}'),
        STOP,
    ) == [
        Usage(input=10, output=0, estimated=True),
        TextDelta("a"),
        Usage(input=10, output=5, estimated=True),
        Usage(input=15, output=9, cache_read=3),
        Finished("stop"),
    ]


def test_usage_with_a_missing_count_is_estimated_and_usage_without_counts_is_ignored():
    start = b'data: {"type":"message_start","message":{"usage":{}}}\n\n'
    assert decode(start, text("a"), message_delta('"end_turn"', "{}"), STOP) == [
        TextDelta("a"),
        Finished("stop"),
    ]
    assert decode(start, text("a"), message_delta('"end_turn"', '{"output_tokens":9}'), STOP) == [
        TextDelta("a"),
        Usage(input=0, output=9, estimated=True),
        Finished("stop"),
    ]


@pytest.mark.parametrize("unknown", ["0", "-7", "1e30", "true", '""', "[]", "{}"])
def test_an_unknown_count_does_not_replace_a_known_one(unknown):
    start = (
        b'data: {"type":"message_start","message":{"usage":'
        b'{"input_tokens":5000,"cache_read_input_tokens":100,"output_tokens":1}}}\n\n'
    )
    counts = f'{{"input_tokens":{unknown},"cache_read_input_tokens":{unknown},"output_tokens":9}}'
    assert decode(start, text("a"), message_delta('"end_turn"', counts), STOP)[1:] == [
        TextDelta("a"),
        Usage(input=5100, output=9, cache_read=100),
        Finished("stop"),
    ]
    counts = f'{{"output_tokens":{unknown}}}'
    assert decode(start, text("a"), message_delta('"end_turn"', counts), STOP)[2:] == [
        Usage(input=5100, output=0, cache_read=100, estimated=True),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("overloaded_error", "upstream_overloaded", True),
        ("rate_limit_error", "upstream_rate_limited", True),
        ("api_error", "upstream_error", True),
        ("timeout_error", "upstream_timeout", True),
        ("authentication_error", "upstream_auth", False),
        ("permission_error", "upstream_auth", False),
        ("billing_error", "upstream_auth", False),
        ("invalid_request_error", "invalid_request", False),
        ("never_heard_of", "upstream_error", True),
    ],
)
def test_errors_in_the_stream(kind, code, retryable):
    error = (
        b'event: error\ndata: {"type":"error","error":{"type":"%b","message":"org-7"}}\n\n' % kind.encode()
    )
    assert decode(text("a"), error, text("b"), STOP) == [
        TextDelta("a"),
        Failed(code, "the model provider sent an error", retryable),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            b'{"type":"invalid_request_error","message":"prompt is too long: 11 tokens > 10 maximum"}',
            "context_length_exceeded",
        ),
        (b'{"type":"request_too_large","message":"m"}', "context_length_exceeded"),
        (
            b'{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}',
            "content_filter",
        ),
        (b'{"type":"not_found_error","message":"model: m"}', "model_not_found"),
    ],
)
def test_refusals_in_the_stream(error, code):
    [failed] = decode(b'data: {"type":"error","error":%b}\n\n' % error)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == (code, False)


@pytest.mark.parametrize(
    "error", [b"", b',"error":null', b',"error":"overloaded"', b',"error":{"type":null}']
)
def test_malformed_errors_end_the_answer_with_an_error(error):
    assert decode(b'data: {"type":"error"%b}\n\n' % error) == [
        Failed("upstream_error", "the model provider sent an error", retryable=True)
    ]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": ping\n\n",
        text("a"),
        text("a") + STOP,
        text("a") + message_delta("null") + STOP,
        text("a") + message_delta('"end_turn"')[:-10],
    ],
)
def test_an_answer_without_an_end_is_truncated(stream):
    assert decode(stream)[-1] == TRUNCATED


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"no JSON",
        b"[]",
        b"null",
        b'{"type":1}',
        b'{"type":"content_block_delta","delta":7}',
        b'{"type":"content_block_delta","delta":{"type":"text_delta","text":7}}',
        b"[" * 100_000,
    ],
)
def test_data_in_another_format_is_invalid(data):
    assert decode(text("a"), b"data: " + data + b"\n\n", text("b")) == [TextDelta("a"), INVALID]


def test_an_endless_line_is_invalid_and_earlier_events_are_kept():
    endless = text("a") + b"data: " + b"x" * (1024 * 1024)
    for reads in ([endless], [endless[i : i + 65_536] for i in range(0, len(endless), 65_536)]):
        assert decode(*reads) == [TextDelta("a"), INVALID]


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b'{"type":"message"}', b"{}", b"[]", b"{"])
def test_a_body_without_an_answer_is_invalid(body):
    assert decode(body) == [INVALID]


WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}],
    "stop_reason": "max_tokens",
    "usage": {"input_tokens": 7, "output_tokens": 2},
}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_may_be_one_json_body(indent):
    body = json.dumps(WHOLE, indent=indent).encode()
    assert decode(body) == [ReasoningDelta("Hm."), TextDelta("Hi"), Usage(7, 2), Finished("length")]
    assert decode(json.dumps({**WHOLE, "stop_reason": None}).encode())[-1] == Finished("stop")


def test_an_error_as_one_json_body_is_not_retryable():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}'
    assert decode(body) == [
        Failed("upstream_overloaded", "the model provider sent an error", retryable=False)
    ]


@pytest.mark.parametrize(
    "delta",
    ['{"type":"text_delta","text":""}', '{"type":"thinking_delta","thinking":"Hm."}', '{"type":"new"}'],
)
def test_an_answer_without_text_is_an_error(delta):
    event = b'data: {"type":"content_block_delta","index":0,"delta":%b}\n\n' % delta.encode()
    assert decode(event, message_delta('"end_turn"'), STOP)[-1] == EMPTY


@pytest.mark.parametrize(
    "end", [message_delta('"end_turn"') + STOP, b'data: {"type":"error"}\n\n', b"data: {\n\n"]
)
def test_events_after_the_end_are_ignored(end):
    decoder = AnthropicFormat().decoder()
    assert isinstance(decoder.feed(end + text("a"))[-1], Finished | Failed)
    assert decoder.feed(text("b") + STOP + b"data: {\n\n") == []
    assert decoder.close() == []


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "upstream_auth", False),
        (403, "upstream_auth", False),
        (404, "upstream_rejected", False),
        (408, "upstream_timeout", True),
        (409, "upstream_error", True),
        (422, "invalid_request", False),
        (429, "upstream_rate_limited", True),
        (500, "upstream_error", True),
        (502, "upstream_error", True),
        (503, "upstream_overloaded", True),
        (504, "upstream_timeout", True),
        (529, "upstream_overloaded", True),
        (302, "upstream_rejected", False),
        (204, "upstream_error", True),
    ],
)
def test_statuses(status, code, retryable):
    error = AnthropicFormat().error(status, b'{"type":"error","error":{"type":"x","message":"org-7"}}')
    assert (error.code, error.retryable) == (code, retryable)
    if code == "invalid_request":
        assert error.message == "the model provider refused the request"
    else:
        assert error.message == f"the model provider answered {status}"
