import json

import pytest

from shared.events import Event, Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.ollama_format import OllamaFormat
from shared.llm.providers import ProviderSettings, find_target
from shared.llm.wire_format import ChatMessage, ChatRequest

ANSWER = """\
{"model":"qwen3","created_at":"2026-01-01T00:00:00.1Z","message":{"role":"assistant","content":"","thinking":"Hm."},"done":false}
{"model":"qwen3","created_at":"2026-01-01T00:00:00.2Z","message":{"role":"assistant","content":"Grüß"},"done":false}
{"model":"qwen3","created_at":"2026-01-01T00:00:00.3Z","message":{"role":"assistant","content":" dich 😀!"},"done":false}
{"model":"qwen3","created_at":"2026-01-01T00:00:00.4Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":2000000000,"load_duration":1000000,"prompt_eval_count":26,"eval_count":15}
""".encode()  # noqa: E501
EVENTS = [
    ReasoningDelta("Hm."),
    TextDelta("Grüß"),
    TextDelta(" dich 😀!"),
    Usage(input=26, output=15),
    Finished("stop"),
]
INVALID = Failed("upstream_invalid", "the model provider sent invalid data", retryable=False)
TRUNCATED = Failed(
    "upstream_truncated", "the model provider's answer ended before its end mark", retryable=True
)
HI = b'{"message":{"role":"assistant","content":"Hi"},"done":false}\n'


def decode(*reads: bytes) -> list[Event]:
    decoder = OllamaFormat().decoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.close()


def request(chat: ChatRequest, api_key: str | None = None):
    target = find_target("ollama/qwen3", {"ollama": ProviderSettings(base_url="http://127.0.0.1:11434")})
    http_request = OllamaFormat().request(chat, target, api_key)
    return http_request, json.loads(http_request.body)


def test_a_request():
    http_request, body = request(
        ChatRequest(
            messages=(ChatMessage("user", "Hi"),),
            system="Be kind.",
            max_tokens=100,
            temperature=0.7,
        )
    )
    assert http_request.url == "http://127.0.0.1:11434/api/chat"
    assert http_request.headers == {"content-type": "application/json"}
    assert body == {
        "model": "qwen3",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "options": {"num_predict": 100, "num_ctx": 4096, "temperature": 0.7},
    }


def test_parameters_without_a_value_are_not_sent():
    _, body = request(ChatRequest(messages=(ChatMessage("user", "Hi"),)))
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert body["options"] == {"num_predict": 4096, "num_ctx": 8192}


def test_a_key_is_sent_to_ollamas_cloud():
    http_request, _ = request(ChatRequest(messages=(ChatMessage("user", "Hi"),)), "k")
    assert http_request.headers["authorization"] == "Bearer k"


def test_an_answer():
    assert decode(ANSWER) == EVENTS


def test_an_answer_split_at_every_byte():
    for i in range(len(ANSWER)):
        assert decode(ANSWER[:i], ANSWER[i:]) == EVENTS


def test_an_answer_byte_by_byte():
    assert decode(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))) == EVENTS


def test_an_answer_with_crlf_and_empty_lines():
    assert decode(ANSWER.replace(b"\n", b"\r\n\r\n")) == EVENTS


def test_the_last_line_may_have_no_line_end():
    assert decode(ANSWER[:-1]) == EVENTS


@pytest.mark.parametrize(
    ("vendor_reason", "finish_reason"),
    [
        (b',"done_reason":"stop"', "stop"),
        (b',"done_reason":"length"', "length"),
        (b',"done_reason":"LENGTH"', "length"),
        (b',"done_reason":{}', "stop"),
        (b',"done_reason":null', "stop"),
        (b"", "stop"),
    ],
)
def test_done_reasons(vendor_reason, finish_reason):
    assert decode(HI, b'{"done":true%b}\n' % vendor_reason) == [TextDelta("Hi"), Finished(finish_reason)]


@pytest.mark.parametrize("vendor_reason", [b'"never_heard_of"', b"7", b'{"a":1}'])
def test_an_unknown_done_reason_is_an_error_that_keeps_text_and_usage(vendor_reason):
    line = b'{"done":true,"done_reason":%b,"prompt_eval_count":7,"eval_count":2}\n' % vendor_reason
    assert decode(HI, line) == [
        TextDelta("Hi"),
        Usage(7, 2),
        Failed("upstream_error", "the model provider ended the answer with an error", retryable=True),
    ]


def test_a_finish_reason_without_done_ends_the_answer():
    end = b'{"done":false,"done_reason":"length"}\n'
    assert decode(HI, end, HI) == [TextDelta("Hi"), Finished("length")]


@pytest.mark.parametrize("reason", [b"load", b"unload"])
def test_loading_a_model_is_not_an_answer(reason):
    line = b'{"message":{"role":"assistant","content":""},"done":true,"done_reason":"%b"}\n' % reason
    assert decode(line) == [
        Failed("upstream_error", "the model provider loaded the model and did not answer", retryable=True)
    ]


def test_usage_with_a_missing_count_is_estimated_and_usage_without_counts_is_ignored():
    assert decode(HI, b'{"done":true}\n')[1:] == [Finished("stop")]
    for unknown in (b"null", b"0", b"-7", b"1e30", b'""', b"[]"):
        end = b'{"done":true,"prompt_eval_count":%b,"eval_count":5}\n' % unknown
        assert decode(HI, end)[1:] == [Usage(0, 5, estimated=True), Finished("stop")]
        end = b'{"done":true,"prompt_eval_count":5,"eval_count":%b}\n' % unknown
        assert decode(HI, end)[1:] == [Usage(5, 0, estimated=True), Finished("stop")]


@pytest.mark.parametrize("error", [b'"model runner has stopped"', b'{"message":"m"}'])
def test_an_error_in_the_stream(error):
    assert decode(HI, b'{"error":%b}\n' % error, HI) == [
        TextDelta("Hi"),
        Failed("upstream_error", "the model provider sent an error", retryable=True),
    ]


@pytest.mark.parametrize("stream", [b"", HI, HI + b'{"done":tr', HI + b"\n\n", b'{"message":{"cont'])
def test_an_answer_without_an_end_is_truncated(stream):
    assert decode(stream)[-1] == TRUNCATED


@pytest.mark.parametrize("body", [b"<html></html>", b"Bad gateway\n", b'{"object":"error"}', b"{\n}", b"{\n"])
def test_a_body_without_an_answer_is_invalid(body):
    assert decode(body) == [INVALID]


WHOLE = {
    "model": "qwen3",
    "message": {"role": "assistant", "content": "Hi", "thinking": "Hm."},
    "done": True,
    "done_reason": "length",
    "prompt_eval_count": 7,
    "eval_count": 2,
}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_may_be_one_json_body(indent):
    body = json.dumps(WHOLE, indent=indent).encode()
    expected = [ReasoningDelta("Hm."), TextDelta("Hi"), Usage(7, 2), Finished("length")]
    assert decode(body) == decode(b"\n" + body + b"\n") == expected
    assert decode(*(body[i : i + 1] for i in range(len(body)))) == expected


def test_an_answer_without_text_is_an_error():
    assert decode(b'{"message":{"content":"","thinking":"Hm."},"done":true}\n')[-1] == Failed(
        "empty_answer", "the model's answer has no text", retryable=True
    )


def test_an_empty_error_is_no_error():
    assert decode(HI.replace(b"}\n", b',"error":{}}\n'), b'{"done":true,"error":""}\n') == [
        TextDelta("Hi"),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"<html></html>", b'{"message":7}', b'{"message":{"content":7}}']
)
def test_data_in_another_format_is_invalid(line):
    assert decode(HI, line + b"\n", HI) == [TextDelta("Hi"), INVALID]


def test_an_endless_line_is_invalid():
    endless = HI + b" " * (1024 * 1024 + 1)
    for reads in (
        [endless],
        [endless + b"\n"],
        [endless + b"{\n"],
        [endless[i : i + 65_536] for i in range(0, len(endless), 65_536)],
    ):
        assert decode(*reads) == [TextDelta("Hi"), INVALID]


def test_events_after_the_end_are_ignored():
    decoder = OllamaFormat().decoder()
    assert decoder.feed(HI + b'{"done":true}\n' + HI) == [TextDelta("Hi"), Finished("stop")]
    assert decoder.feed(HI + b"{\n") == []
    assert decoder.close() == []


def test_an_error_does_not_quote_the_provider():
    error = OllamaFormat().error(404, b'{"error":"model \'qwen9\' not found"}')
    assert (error.code, error.retryable) == ("model_not_found", False)
    assert error.message == "the model provider does not have this model"
