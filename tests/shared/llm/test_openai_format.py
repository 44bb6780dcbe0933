import json
from typing import Any

import pytest

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.openai_format import OpenAIFormat
from shared.llm.providers import ProviderSettings, find_target
from shared.llm.wire_format import BEFORE_ANSWER, ChatMessage, ChatRequest

ANSWER = """\
data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-6-sol","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x1"}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-6-sol","choices":[{"index":0,"delta":{"content":"Grüß"},"finish_reason":null}],"usage":null}

: keep-alive

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-6-sol","choices":[{"index":0,"delta":{"content":" dich 😀!"},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-6-sol","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-6-sol","choices":[],"usage":{"prompt_tokens":1200,"completion_tokens":15,"total_tokens":1215,"prompt_tokens_details":{"cached_tokens":1000,"cache_write_tokens":100,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4}}}

data: [DONE]

""".encode()  # noqa: E501
EVENTS = [
    TextDelta("Grüß"),
    TextDelta(" dich 😀!"),
    Usage(input=1200, output=15, cache_read=1000, cache_write=100, reasoning=4),
    Finished("stop"),
]
INVALID = Failed("upstream_invalid", "the model provider sent invalid data", retryable=False)
TRUNCATED = Failed(
    "upstream_truncated", "the model provider's answer ended before its end mark", retryable=True
)
EMPTY = Failed("empty_answer", "the model's answer has no text", retryable=True)
ENDED_WITH_AN_ERROR = Failed(
    "upstream_error", "the model provider ended the answer with an error", retryable=True
)
DONE = b"data: [DONE]\n\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def decode(*reads: bytes) -> list[Event]:
    decoder = OpenAIFormat().decoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.close()


def text(content: str = "a") -> bytes:
    return delta(json.dumps({"content": content}))


def whole(message: object, **fields: object) -> bytes:
    """A body of a server that does not stream."""
    choice = {"index": 0, "message": message, "finish_reason": "stop", **fields}
    return json.dumps(
        {
            "object": "chat.completion",
            "choices": [choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        }
    ).encode()


def delta(json_text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":%b,"finish_reason":null}]}\n\n' % json_text.encode()


def request(model: str, chat: ChatRequest, *, api_key: str | None = "k", **settings: Any):
    configured = ProviderSettings(**{"base_url": "https://api.openai.com/v1", **settings})
    target = find_target(f"openai/{model}", {"openai": configured})
    http_request = OpenAIFormat().request(chat, target, api_key)
    return http_request, json.loads(http_request.body)


CHAT = ChatRequest(
    messages=(ChatMessage("assistant", "Welcome!"), ChatMessage("user", "Hi"), ChatMessage("user", "there")),
    system="Be kind.",
    max_tokens=100,
    temperature=0.7,
)


def test_a_request_to_openai():
    http_request, body = request("gpt-6-sol", CHAT)
    assert http_request.url == "https://api.openai.com/v1/chat/completions"
    assert http_request.headers == {"content-type": "application/json", "authorization": "Bearer k"}
    assert body == {
        "model": "gpt-6-sol",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": BEFORE_ANSWER},
            {"role": "assistant", "content": "Welcome!"},
            {"role": "user", "content": "Hi\n\nthere"},
        ],
        "max_completion_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
    }


def test_a_request_to_a_compatible_server():
    chat = ChatRequest(messages=(ChatMessage("user", "Hi"),))
    http_request, body = request(
        "m", chat, api_key=None, base_url="http://127.0.0.1:1234/v1", stream_options=False
    )
    assert http_request.url == "http://127.0.0.1:1234/v1/chat/completions"
    assert "authorization" not in http_request.headers
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4096,
        "stream": True,
    }


def test_an_answer():
    assert decode(ANSWER) == EVENTS


def test_an_answer_split_at_every_byte():
    for i in range(len(ANSWER)):
        assert decode(ANSWER[:i], ANSWER[i:]) == EVENTS


def test_an_answer_byte_by_byte():
    assert decode(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))) == EVENTS


def test_an_answer_with_crlf():
    assert decode(ANSWER.replace(b"\n", b"\r\n")) == EVENTS


def test_a_compatible_server_with_cumulative_usage_and_thinking():
    answer = (
        b'data: {"choices":[{"delta":{"role":"","content":null}}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":0}}\n\n'
        b'data: {"choices":[{"delta":{"content":null,"reasoning_content":"Hm."}}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
        b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":null}}\n\n'
        b"data: [DONE]\n\n"
    )
    assert decode(answer) == [
        Usage(9, 0, estimated=True),
        ReasoningDelta("Hm."),
        Usage(9, 1, estimated=True),
        TextDelta("Hi"),
        Usage(9, 2),
        Finished("length"),
    ]


@pytest.mark.parametrize(
    ("json_text", "events"),
    [
        ('{"role":"","content":"a"}', [TextDelta("a")]),
        ('{"content":""}', []),
        ('{"content":null}', []),
        ("{}", []),
        ("null", []),
        ('{"reasoning_content":"a"}', [ReasoningDelta("a")]),
        ('{"reasoning":"a"}', [ReasoningDelta("a")]),
        ('{"reasoning_content":"a","reasoning":"a","content":"b"}', [ReasoningDelta("a"), TextDelta("b")]),
        ('{"refusal":"I cannot."}', [TextDelta("I cannot.")]),
        ('{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}', []),
    ],
)
def test_deltas(json_text, events):
    assert decode(delta(json_text), text("!"), STOP, DONE) == [*events, TextDelta("!"), Finished("stop")]


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[]}',
        b'{"choices":null}',
        b"{}",
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":{},"finish_reason":""}]}',
        b'{"choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}',
        b'{"choices":[{"index":0,"finish_reason":null,"content_filter_results":{},"content_filter_offsets":{}}]}',
        b'{"choices":[],"usage":{}}',
        b'{"choices":[],"usage":null,"error":null}',
        b'{"choices":{},"usage":"","error":{},"event":null}',
        b'{"choices":[],"usage":[],"error":[]}',
        b'{"choices":[],"usage":7,"error":{"code":null,"message":""}}',
        b'{"choices":[{"delta":[],"finish_reason":""}],"error":false}',
        b"",
    ],
)
def test_chunks_without_content_are_ignored(chunk):
    assert decode(b"data: " + chunk + b"\n\n", delta('{"content":"a"}'), STOP, DONE) == [
        TextDelta("a"),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    ("vendor_reason", "finish_reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("content_filter: PROHIBITED_CONTENT", "content_filter"),
        ("sensitive", "content_filter"),
    ],
)
def test_finish_reasons(vendor_reason, finish_reason):
    end = STOP.replace(b"stop", vendor_reason.encode())
    assert decode(text(), end, DONE) == [TextDelta("a"), Finished(finish_reason)]


@pytest.mark.parametrize(
    "vendor_reason", [b'"error"', b'"abort"', b'"network_error"', b'"new"', b"7", b'{"a":1}']
)
def test_an_unknown_finish_reason_is_an_error_that_keeps_text_and_usage(vendor_reason):
    end = STOP.replace(b'"stop"', vendor_reason)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    assert decode(text(), end, usage, DONE) == [TextDelta("a"), Usage(1, 2), ENDED_WITH_AN_ERROR]


def test_the_finish_reason_of_an_overloaded_server():
    end = STOP.replace(b"stop", b"insufficient_system_resource")
    assert decode(text(), end, DONE)[1:] == [
        Failed("upstream_overloaded", "the model provider ended the answer with an error", retryable=True)
    ]


def test_without_done_the_answer_finishes_at_the_end_of_the_stream():
    assert decode(delta('{"content":"a"}'), STOP) == [TextDelta("a"), Finished("stop")]


def test_finished_waits_for_the_usage():
    decoder = OpenAIFormat().decoder()
    assert decoder.feed(text() + STOP) == [TextDelta("a")]
    assert decoder.feed(b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n') == [
        Usage(1, 2)
    ]
    assert decoder.feed(DONE) == [Finished("stop")]


@pytest.mark.parametrize(
    "stream",
    [b"", b" \n", b": ping\n\n", text(), text() + DONE, DONE, text() + STOP[:-5], text() + b"data: [DO"],
)
def test_an_answer_without_a_finish_reason_is_truncated(stream):
    assert decode(stream)[-1] == TRUNCATED


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ('{"message":"m","type":"server_error","param":null,"code":null}', "upstream_error", True),
        ('{"message":"m","type":"requests","code":"rate_limit_exceeded"}', "upstream_rate_limited", True),
        ('{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}', "upstream_auth", False),
        ('{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}', "upstream_auth", False),
        ('{"message":"m","type":"invalid_request_error","code":null}', "invalid_request", False),
        ('{"message":"m","type":"BadRequestError","code":400}', "invalid_request", False),
        ('{"message":"m","code":"503"}', "upstream_overloaded", True),
        ('{"message":"m","code":429}', "upstream_rate_limited", True),
        ('{"message":"m"}', "upstream_error", True),
        ('"m"', "upstream_error", True),
    ],
)
def test_errors_in_the_stream(error, code, retryable):
    stream = b'data: {"error":%b}\n\n' % error.encode()
    assert decode(delta('{"content":"a"}'), stream, delta('{"content":"b"}'), STOP, DONE) == [
        TextDelta("a"),
        Failed(code, "the model provider sent an error", retryable),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('{"message":"m","code":"context_length_exceeded"}', "context_length_exceeded"),
        (
            '{"message":"This model\'s maximum context length is 10 tokens","code":400}',
            "context_length_exceeded",
        ),
        ('"prompt is too long: 11 tokens > 10 maximum"', "context_length_exceeded"),
        ('{"message":"m","type":"invalid_request_error","code":"content_filter"}', "content_filter"),
        ('{"message":"Your input was flagged","code":403}', "content_filter"),
        ('{"message":"m","code":"model_not_found"}', "model_not_found"),
    ],
)
def test_refusals_in_the_stream(error, code):
    [failed] = decode(b'data: {"error":%b}\n\n' % error.encode())
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == (code, False)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"7",
        b'{"choices":{"a":1}}',
        b'{"choices":[7]}',
        b'{"choices":[{"delta":7}]}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":[{"delta":{"content":[{"type":"text","text":7}]}}]}',
        b'{"choices":[{"delta":{"content":7},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}',
    ],
)
def test_data_in_another_format_is_invalid(data):
    assert decode(b"data: " + data + b"\n\n", STOP, DONE) == [INVALID]


@pytest.mark.parametrize("body", [b"<html></html>", b"\n <!DOCTYPE html>", b"Bad gateway", b"upstream error"])
def test_a_body_that_is_neither_a_stream_nor_json_is_invalid(body):
    assert decode(body) == decode(*(body[i : i + 1] for i in range(len(body)))) == [INVALID]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_the_last_event_may_have_no_blank_line(end):
    usage = b'"usage":{"prompt_tokens":1,"completion_tokens":2}'
    last = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],%b}' % usage
    assert decode(text(), last + end) == [TextDelta("a"), Usage(1, 2), Finished("stop")]
    assert decode(text(), STOP, b"data: [DONE]" + end) == [TextDelta("a"), Finished("stop")]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Hello "}, {"type": "text", "text": "you."}],
        ["Hello ", "you."],
        [{"text": "Hello "}, {"type": "image_url", "image_url": {}}, {"type": "output_text", "text": "you."}],
        {"type": "text", "text": "Hello you."},
    ],
)
def test_content_may_be_a_list_of_parts(content):
    events = decode(delta(json.dumps({"content": content})), STOP, DONE)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello you."
    assert events[-1] == Finished("stop")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "A plan."}]},
        {"type": "thinking", "thinking": "A plan."},
        {"type": "reasoning", "text": "A plan."},
    ],
)
def test_a_part_may_be_thinking(part):
    content = json.dumps({"content": [part, {"type": "text", "text": "Hello."}]})
    assert decode(delta(content), STOP, DONE) == [
        ReasoningDelta("A plan."),
        TextDelta("Hello."),
        Finished("stop"),
    ]


@pytest.mark.parametrize("reasoning", [7, {}, {"a": 1}, [[]], True])
def test_reasoning_in_an_unknown_shape_is_ignored(reasoning):
    odd = json.dumps({"reasoning_content": reasoning, "reasoning": reasoning, "content": "a"})
    assert decode(delta(odd), STOP, DONE) == [TextDelta("a"), Finished("stop")]


def test_only_the_choice_with_index_0_is_read():
    stream = (
        b'data: {"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"index":1,"delta":{"content":"no"}}]}\n\n'
        b'data: {"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"b"}},{"delta":{"content":"no"}}]}\n\n'
    )
    assert decode(stream, STOP, DONE) == [TextDelta("a"), TextDelta("b"), Finished("stop")]


def test_usage_may_be_inside_the_choice():
    end = b'{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":7,"completion_tokens":2}}'
    assert decode(text(), b'data: {"choices":[%b]}\n\n' % end, DONE) == [
        TextDelta("a"),
        Usage(7, 2),
        Finished("stop"),
    ]


def test_a_whole_message_in_an_event_is_read_if_no_delta_had_text():
    event = b"data: " + whole({"reasoning_content": "Hm.", "content": "Hi"}) + b"\n\n"
    assert decode(event, DONE) == [ReasoningDelta("Hm."), TextDelta("Hi"), Usage(7, 2), Finished("stop")]
    assert decode(text("Hi"), event, DONE) == [TextDelta("Hi"), Usage(7, 2), Finished("stop")]


@pytest.mark.parametrize(
    ("message", "events"),
    [
        ({"content": "Hi"}, [TextDelta("Hi")]),
        ({"content": None, "refusal": "I cannot."}, [TextDelta("I cannot.")]),
        ({"content": [{"type": "text", "text": "Hi"}]}, [TextDelta("Hi")]),
        ({"content": "Hi", "reasoning_content": "Hm."}, [ReasoningDelta("Hm."), TextDelta("Hi")]),
        ({"content": "<think>Hm.</think>Hi"}, [ReasoningDelta("Hm."), TextDelta("Hi")]),
    ],
)
def test_an_answer_may_be_one_json_body(message, events):
    expected = [*events, Usage(7, 2), Finished("stop")]
    for body in (
        whole(message),
        b"\xef\xbb\xbf\n\n" + whole(message),
        json.dumps(json.loads(whole(message)), indent=2).encode(),
    ):
        assert decode(body) == decode(*(body[i : i + 1] for i in range(len(body)))) == expected
    assert decode(whole(message, finish_reason=None)) == expected
    assert decode(whole(message, finish_reason="length"))[-1] == Finished("length")


@pytest.mark.parametrize(
    "body", [whole({"content": "Hi"})[:-1], b"{}", b'{"choices":[]}', b"[1]", b'{"detail":"no"}']
)
def test_a_json_body_without_an_answer_is_invalid(body):
    assert decode(body) == [INVALID]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            '{"object":"error","message":"m","type":"BadRequestError","param":null,"code":503}',
            "upstream_overloaded",
        ),
        ('{"object":"error","message":"m"}', "upstream_error"),
        ('{"error":{"message":"m","type":"server_error"}}', "upstream_error"),
        ('{"error":"m"}', "upstream_error"),
    ],
)
def test_an_error_with_status_200_is_an_error(body, code):
    message = "the model provider sent an error"
    assert decode(body.encode()) == [Failed(code, message, retryable=False)]
    event = b"data: " + body.encode() + b"\n\n"
    assert decode(event, DONE) == [Failed(code, message, retryable=True)]


@pytest.mark.parametrize(
    "stream",
    [
        delta('{"role":"assistant","content":""}') + STOP,
        delta('{"content":" \\n"}') + STOP,
        delta('{"tool_calls":[{"index":0,"function":{"name":"f"}}]}') + STOP.replace(b"stop", b"tool_calls"),
        whole({"content": ""}),
    ],
)
def test_an_answer_without_text_is_an_error(stream):
    assert decode(stream)[-1] == EMPTY


def test_an_answer_that_only_thinks_is_an_error():
    thinking = delta('{"reasoning_content":"Hm."}')
    assert decode(thinking, STOP, DONE) == [ReasoningDelta("Hm."), EMPTY]


def test_an_answer_whose_tokens_were_used_up_before_the_text_is_not_asked_for_again():
    end = STOP.replace(b"stop", b"length")
    assert decode(end, DONE) == [Failed("empty_answer", "the model's answer has no text", retryable=False)]


def test_a_filtered_answer_may_have_no_text():
    assert decode(STOP.replace(b"stop", b"content_filter"), DONE) == [Finished("content_filter")]


def test_numbers_of_another_type_are_accepted():
    usage = b'"usage":{"prompt_tokens":"7","completion_tokens":2.0}'
    chunk = b'data: {"choices":[{"delta":{"content":"null"}}],%b}\n\n' % usage
    assert decode(STOP, chunk, DONE) == [TextDelta("null"), Usage(7, 2), Finished("stop")]


@pytest.mark.parametrize(
    "unknown", ["0", "null", "-7", "1e30", "1.5", "true", '"many"', '""', "[7]", "{}", "9" * 5000]
)
def test_a_count_that_is_0_or_no_number_of_tokens_is_unknown(unknown):
    def usage(prompt: str, completion: str) -> bytes:
        return b'data: {"choices":[],"usage":{"prompt_tokens":%b,"completion_tokens":%b}}\n\n' % (
            prompt.encode(),
            completion.encode(),
        )

    end = Finished("stop")
    assert decode(text(), STOP, usage(unknown, "2"), DONE)[1:] == [Usage(0, 2, estimated=True), end]
    assert decode(text(), STOP, usage("7", unknown), DONE)[1:] == [Usage(7, 0, estimated=True), end]
    assert decode(text(), STOP, usage(unknown, unknown), DONE)[1:] == [end]
    # An earlier count stays.
    assert decode(usage("7", "1"), text(), STOP, usage(unknown, "2"), DONE)[2:] == [Usage(7, 2), end]
    assert decode(usage("7", "1"), text(), STOP, usage(unknown, unknown), DONE)[2:] == [
        Usage(7, 1, estimated=True),
        end,
    ]


def test_no_output_tokens_are_possible_without_text():
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":0}}\n\n'
    assert decode(STOP, usage, DONE) == [Usage(7, 0), EMPTY]


def test_events_after_the_end_are_ignored():
    decoder = OpenAIFormat().decoder()
    assert decoder.feed(text() + STOP + DONE + text()) == [TextDelta("a"), Finished("stop")]
    assert decoder.feed(delta('{"content":"a"}') + b"data: {\n\n") == []
    assert decoder.close() == []


def test_an_exhausted_quota_is_not_retryable():
    body = b'{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}'
    wire_format = OpenAIFormat()
    assert (wire_format.error(429, body).code, wire_format.error(429, body).retryable) == (
        "upstream_auth",
        False,
    )
    assert (wire_format.error(429, b"{}").code, wire_format.error(429, b"{}").retryable) == (
        "upstream_rate_limited",
        True,
    )


def test_an_error_does_not_quote_the_provider():
    error = OpenAIFormat().error(500, b'{"error":{"message":"org-7"}}')
    assert error.code == "upstream_error"
    assert error.message == "the model provider answered 500"
