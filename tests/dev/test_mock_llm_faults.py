"""The bytes that the mock sends for each fault."""

import asyncio
import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dev.mock_llm import VENDOR_WORDS, MockLLM, answer_text, partial_text

ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": ("/anthropic/v1/messages", {"max_tokens": 9}),
    "openai": ("/openai/v1/chat/completions", {}),
    "nvidia": ("/nvidia/v1/chat/completions", {}),
    "ollama": ("/ollama/api/chat", {}),
}
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


def receive_all(script: str) -> dict[str, tuple[bytes, str]]:
    """The same for every format, each until the end of the response."""
    return {form: receive(form, script) for form in ROUTES}


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


@pytest.mark.parametrize(
    ("script", "end", "complete", "text"),
    [
        ("tokens=5", "closed", True, answer_text("tokens=5")),
        ("truncate,after=4", "closed", False, partial_text("after=4")),
        ("error,after=2", "closed", False, partial_text("after=2")),
        ("bad-json,after=2,tokens=5", "closed", True, answer_text("tokens=5")),
        ("cut,after=4", "closed", False, partial_text("after=4")),
        ("cut,tokens=2,after=2", "closed", False, answer_text("tokens=2")),
        ("reset,after=4", "reset", False, partial_text("after=4")),
    ],
)
def test_an_answer_ends_as_its_script_says(script, end, complete, text):
    for form, (data, ended) in receive_all(script).items():
        assert ended == end, form
        assert (TERMINAL[form] in data) == complete, form
        assert text_of(form, data) == text, form
        if script.startswith(("cut", "reset")):
            size, _, half = chunks_of(data)[1].partition(b"\r\n")
            assert 0 < len(half) < int(size, 16), form
        else:
            assert data.endswith(LAST_CHUNK), form


def test_an_error_in_the_stream_is_its_last_event():
    for form, (data, _) in receive_all("error,after=2").items():
        assert VENDOR_WORDS in str(events_of(form, data)[-1]["error"]), form


def test_one_event_is_not_json():
    for form, (data, _) in receive_all("bad-json,after=2,tokens=5").items():
        lines = b"".join(chunks_of(data)[0]).split(b"\n")
        assert len([line for line in lines if line.endswith((b"[", b":"))]) == 1, form


@pytest.mark.parametrize("fault", ["no-headers", "no-body", "hang"])
def test_silence_lasts_until_the_client_disconnects(fault):
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


def test_pings_go_on_without_content():
    pings = {
        "anthropic": b"event: ping\n",
        "openai": b": keep-alive\n",
        "nvidia": b": keep-alive\n",
        "ollama": b'"content":""},"done":false',
    }
    for form, ping in pings.items():
        data, ended = receive(form, "pings,after=2", until=partial(contains_three, ping))
        assert ended == "open", form
        assert text_of(form, data) == partial_text("after=2"), form


def contains_three(ping: bytes, data: bytes) -> bool:
    return data.count(ping) == 3


def test_an_endless_line_has_no_newline_in_a_mebibyte():
    for form in ROUTES:
        data, ended = receive(form, "endless-line,after=2", until=lambda data: len(data) > 2**20)
        last_line = b"".join(chunks_of(data)[0]).rpartition(b"\n")[2]
        assert ended == "open", form
        assert len(last_line) > 2**20 - 2**17, form
        assert text_of(form, data) == partial_text("after=2"), form


def test_one_byte_chunks_split_characters():
    for form, (data, _) in receive_all("chunk=1").items():
        chunks, _ = chunks_of(data)
        assert {len(chunk) for chunk in chunks} == {0, 1}, form
        assert b"\xe6" in chunks, form  # the first byte of 日
        assert text_of(form, data) == answer_text(""), form


def test_lines_may_end_with_crlf():
    for form, (data, _) in receive_all("crlf").items():
        body = b"".join(chunks_of(data)[0])
        assert body.count(b"\n") == body.count(b"\r\n") > 20, form


def test_odd_text_has_characters_that_break_careless_parsers_and_is_valid_json():
    for odd in ("\x00", "\ud800", "\u2028", '"', "\\", "\n\n", "[DONE]"):
        assert odd in answer_text("odd")
    for form, (data, _) in receive_all("odd").items():
        assert b"nul\\u0000" in data, form
        assert b"lone\\ud800" in data, form
        assert "separator\u2028".encode() in data, form
        assert text_of(form, data) == answer_text("odd"), form


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


def test_the_finish_reason_has_the_vendors_name_or_is_left_out():
    names = {
        ("anthropic", "content_filter"): b'"stop_reason":"refusal"',
        ("openai", "length"): b'"finish_reason":"length"',
        ("ollama", "load"): b'"done_reason":"load"',
    }
    for (form, finish), name in names.items():
        assert name in receive(form, f"finish={finish}")[0], form
    events = events_of("openai", receive("openai", "finish=none")[0])
    assert {event["choices"][0]["finish_reason"] for event in events} == {None}
    assert b"done_reason" not in receive("ollama", "finish=none")[0]


def test_the_last_usage_may_be_zero():
    [*_, delta, _] = events_of("anthropic", receive("anthropic", "usage=zero,input=9")[0])
    assert delta["usage"] == {"input_tokens": 0, "output_tokens": 0}
    [*_, last] = events_of("nvidia", receive("nvidia", "usage=zero")[0])
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (0, 0)
    assert b'"eval_count":0' in receive("ollama", "usage=zero")[0]


@pytest.mark.parametrize("form", ROUTES)
def test_an_answer_may_end_without_its_end_mark_and_blank_line(form):
    data, ended = receive(form, "no-end,usage=end")
    assert ended == "closed"
    assert data.endswith(b"}" + LAST_CHUNK)
    assert text_of(form, data) == answer_text("")
    assert form == "ollama" or TERMINAL[form] not in data


@pytest.mark.parametrize("form", ROUTES)
def test_an_answer_may_be_one_json_body(form):
    head, _, body = receive(form, "whole,tokens=2,thinking=1,tags")[0].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    whole = json.loads(b"".join(chunks_of(head + b"\r\n\r\n" + body)[0]))
    content = {
        "anthropic": lambda: whole["content"][0]["text"],
        "ollama": lambda: whole["message"]["content"],
    }.get(form, lambda: whole["choices"][0]["message"]["content"])()
    assert content.startswith("<think>")
    assert content.endswith(f"</think>\n\n{answer_text('tokens=2')}")


def test_the_text_may_be_a_list_of_parts():
    events = events_of("openai", receive("openai", "parts,tokens=1")[0])
    assert events[1]["choices"][0]["delta"]["content"] == [{"type": "text", "text": answer_text("tokens=1")}]


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 16 + zlib.MAX_WBITS), ("deflate", zlib.MAX_WBITS)])
def test_an_answer_may_be_compressed(encoding, wbits):
    data, _ = receive("openai", f"encoding={encoding}")
    assert b"content-encoding: " + encoding.encode() in data
    chunks, _ = chunks_of(data)
    inflater = zlib.decompressobj(wbits)
    # Each chunk is one event that can be read at once.
    assert inflater.decompress(chunks[0]).endswith(b"}\n\n")
    assert inflater.decompress(b"".join(chunks[1:])).endswith(TERMINAL["openai"])


def test_a_page_or_an_error_may_come_in_place_of_the_answer():
    assert b"content-type: text/html" in receive("anthropic", "html")[0]
    head, _, body = receive("openai", "error-body")[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert VENDOR_WORDS.encode() in body


@pytest.mark.parametrize("script", ["headers=40ms,first=40ms,gap=20ms,tokens=3", "500,headers=120ms"])
def test_the_delays_add_up(script):
    started = time.monotonic()
    receive("openai", script)
    assert time.monotonic() - started >= 0.12


def test_the_delay_of_the_first_token_does_not_delay_the_headers():
    data, ended = receive("openai", "first=60s", until=lambda data: b"assistant" in data)
    assert ended == "open"
    assert text_of("openai", data) == ""
