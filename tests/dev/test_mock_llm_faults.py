"""The bytes that the mock sends for each fault."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from dev.mock_llm import VENDOR_WORDS, MockLLM, answer_text, partial_text

ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": ("/anthropic/v1/messages", {"max_tokens": 9}),
    "openai": ("/openai/v1/chat/completions", {}),
    "nvidia": ("/nvidia/v1/chat/completions", {}),
    "ollama": ("/ollama/api/chat", {}),
}
FORMATS = list(ROUTES)
Until = Callable[[bytes], bool]
LAST_CHUNK = b"\r\n0\r\n\r\n"
TERMINAL = {
    "anthropic": b'{"type":"message_stop"}\n\n',
    "openai": b"data: [DONE]\n\n",
    "nvidia": b"data: [DONE]\n\n",
    "ollama": b'"done":true',
}


def request(form: str, script: str) -> bytes:
    path, more = ROUTES[form]
    message = {"role": "user", "content": "Hello"}
    body = json.dumps({"model": f"mock:{script}", "messages": [message], "stream": True, **more}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: mock\r\nx-api-key: key\r\nauthorization: Bearer key\r\n"
        "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def receive(form: str, script: str, until: Until = lambda _: False) -> tuple[bytes, str]:
    """The bytes of the response until `until` returns True, and its end: reset, closed or open."""

    async def scenario() -> tuple[bytes, str]:
        async with MockLLM() as mock:
            reader, writer = await connect(mock)
            try:
                writer.write(request(form, script))
                return await asyncio.wait_for(read(reader, until), 5)
            finally:
                writer.transport.abort()

    return asyncio.run(scenario())


async def connect(mock: MockLLM) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))


async def read(reader: asyncio.StreamReader, until: Until) -> tuple[bytes, str]:
    data = b""
    while not until(data):
        try:
            more = await reader.read(65536)
        except ConnectionResetError:
            return data, "reset"
        if not more:
            return data, "closed"
        data += more
    return data, "open"


def chunks_of(data: bytes) -> tuple[list[bytes], bytes]:
    """The contents of the whole HTTP chunks, and the bytes after the last of them."""
    rest = data.partition(b"\r\n\r\n")[2]
    chunks = []
    while rest.count(b"\r\n") >= 2:
        size, _, more = rest.partition(b"\r\n")
        if len(more) < int(size, 16) + 2:
            break
        chunks.append(more[: int(size, 16)])
        assert more[int(size, 16) :].startswith(b"\r\n")
        rest = more[int(size, 16) + 2 :]
    return chunks, rest


def events_of(form: str, data: bytes) -> list[dict[str, Any]]:
    """The events that are JSON, parsed."""
    body = b"".join(chunks_of(data)[0]).replace(b"\r\n", b"\n")
    prefix = b"" if form == "ollama" else b"data: "
    lines = [line.removeprefix(prefix) for line in body.split(b"\n") if line.startswith(prefix + b"{")]
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def text_of(form: str, data: bytes) -> str:
    events = events_of(form, data)
    if form == "anthropic":
        return "".join(event.get("delta", {}).get("text", "") for event in events)
    if form == "ollama":
        return "".join(event.get("message", {}).get("content", "") for event in events)
    deltas = [choice["delta"] for event in events for choice in event.get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("form", FORMATS)
def test_a_healthy_answer_ends_with_its_terminal_event_and_the_last_chunk(form):
    data, ended = receive(form, "tokens=5")
    assert (ended, data[-7:]) == ("closed", LAST_CHUNK)
    assert TERMINAL[form] in data
    assert text_of(form, data) == answer_text("tokens=5")


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_answer_ends_properly_without_its_terminal_event(form):
    data, ended = receive(form, "truncate,after=4")
    assert (ended, data[-7:]) == ("closed", LAST_CHUNK)
    assert TERMINAL[form] not in data
    assert text_of(form, data) == partial_text("after=4")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("fault", "end"), [("cut", "closed"), ("reset", "reset")])
def test_a_broken_connection_ends_inside_a_chunk(form, fault, end):
    data, ended = receive(form, f"{fault},after=4")
    size, _, half = chunks_of(data)[1].partition(b"\r\n")
    assert ended == end
    assert 0 < len(half) < int(size, 16)
    assert text_of(form, data) == partial_text("after=4")


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_may_break_between_its_last_token_and_its_end(form):
    data, _ = receive(form, "cut,tokens=2,after=2")
    assert TERMINAL[form] not in data
    assert text_of(form, data) == answer_text("tokens=2")


@pytest.mark.parametrize("fault", ["no-headers", "no-body", "hang"])
def test_silence_lasts_until_the_client_leaves(fault):
    async def scenario() -> Any:
        async with MockLLM() as mock:
            reader, writer = await connect(mock)
            writer.write(request("openai", f"{fault},after=2"))
            data = b"" if fault == "no-headers" else await reader.readuntil(b"\r\n\r\n")
            if fault == "hang":
                data += await reader.readuntil(b'" ipsum"')
                data += await reader.readuntil(b"\r\n")
            await asyncio.wait_for(mock.busy(), 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(3), 0.1)
            writer.close()
            await asyncio.wait_for(mock.idle(), 5)
            return data, mock.aborted

    data, aborted = asyncio.run(scenario())
    assert aborted == 1
    assert data.startswith(b"" if fault == "no-headers" else b"HTTP/1.1 200 OK\r\n")
    assert text_of("openai", data) == (partial_text("after=2") if fault == "hang" else "")


@pytest.mark.parametrize(
    ("form", "ping"),
    [
        ("anthropic", b"event: ping\n"),
        ("openai", b": keep-alive\n"),
        ("nvidia", b": keep-alive\n"),
        ("ollama", b'"content":""},"done":false'),
    ],
)
def test_pings_go_on_without_content(form, ping):
    data, ended = receive(form, "pings,after=2", until=lambda data: data.count(ping) == 3)
    assert ended == "open"
    assert text_of(form, data) == partial_text("after=2")


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_in_the_stream_is_its_last_event(form):
    data, ended = receive(form, "error,after=2")
    last = events_of(form, data)[-1]
    assert (ended, data[-7:]) == ("closed", LAST_CHUNK)
    assert VENDOR_WORDS in str(last["error"])
    assert text_of(form, data) == partial_text("after=2")


@pytest.mark.parametrize("form", FORMATS)
def test_an_event_that_is_not_json_is_followed_by_the_rest(form):
    data, _ = receive(form, "bad-json,after=2,tokens=5")
    lines = b"".join(chunks_of(data)[0]).split(b"\n")
    assert len([line for line in lines if line.endswith((b"[", b":"))]) == 1
    assert TERMINAL[form] in data
    assert text_of(form, data) == answer_text("tokens=5")


@pytest.mark.parametrize("form", FORMATS)
def test_an_endless_line_has_no_newline_in_a_mebibyte(form):
    data, ended = receive(form, "endless-line,after=2", until=lambda data: len(data) > 2**20)
    last_line = b"".join(chunks_of(data)[0]).rpartition(b"\n")[2]
    assert ended == "open"
    assert len(last_line) > 2**20 - 2**17
    assert text_of(form, data) == partial_text("after=2")


@pytest.mark.parametrize("form", FORMATS)
def test_one_byte_chunks_split_inside_characters(form):
    data, _ = receive(form, "chunk=1")
    chunks, _ = chunks_of(data)
    assert {len(chunk) for chunk in chunks} == {0, 1}
    assert b"\xe6" in chunks  # the first byte of 日
    assert text_of(form, data) == answer_text("")


@pytest.mark.parametrize("form", FORMATS)
def test_lines_may_end_with_crlf(form):
    body = b"".join(chunks_of(receive(form, "crlf")[0])[0])
    assert body.count(b"\n") == body.count(b"\r\n") > 20


@pytest.mark.parametrize("form", FORMATS)
def test_odd_text_is_valid_json(form):
    data, _ = receive(form, "odd")
    assert b"nul\\u0000" in data
    assert b"lone\\ud800" in data
    assert "separator\u2028".encode() in data
    assert text_of(form, data) == answer_text("odd")


def test_several_events_can_be_sent_in_one_write():
    one_each, _ = chunks_of(receive("ollama", "tokens=20")[0])
    by_five, _ = chunks_of(receive("ollama", "tokens=20,coalesce=5")[0])
    assert (len(one_each), len(by_five)) == (20 + 2, 4 + 2)


def test_usage_can_come_with_every_event_or_never():
    chunks = events_of("openai", receive("openai", "usage=every,tokens=3")[0])
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 3]
    events = events_of("anthropic", receive("anthropic", "usage=every,tokens=3")[0])
    deltas = [event for event in events if event["type"] == "message_delta"]
    assert [delta["usage"]["output_tokens"] for delta in deltas] == [1, 2, 3, 3]
    assert b"_tokens" not in receive("anthropic", "usage=none")[0]
    assert b"_tokens" not in receive("nvidia", "usage=none")[0]
    assert b"eval_count" not in receive("ollama", "usage=none")[0]


@pytest.mark.parametrize(
    ("form", "finish", "said"),
    [
        ("anthropic", "content_filter", '"stop_reason":"refusal"'),
        ("anthropic", "pause_turn", '"stop_reason":"pause_turn"'),
        ("openai", "length", '"finish_reason":"length"'),
        ("ollama", "length", '"done_reason":"length"'),
        ("ollama", "load", '"done_reason":"load"'),
    ],
)
def test_the_finish_reason_has_the_vendors_name(form, finish, said):
    assert said.encode() in receive(form, f"finish={finish}")[0]


def test_the_finish_reason_can_be_left_out():
    events = events_of("openai", receive("openai", "finish=none")[0])
    assert {event["choices"][0]["finish_reason"] for event in events} == {None}
    assert b"done_reason" not in receive("ollama", "finish=none")[0]


@pytest.mark.parametrize("script", ["headers=40ms,first=40ms,gap=20ms,tokens=3", "500,headers=120ms"])
def test_the_delays_add_up(script):
    started = time.monotonic()
    receive("openai", script)
    assert time.monotonic() - started >= 0.12


def test_the_delay_of_the_first_token_does_not_delay_the_headers():
    data, ended = receive("openai", "first=60s", until=lambda data: b"assistant" in data)
    assert ended == "open"
    assert text_of("openai", data) == ""
