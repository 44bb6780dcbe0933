"""The requests that the mock refuses, as the vendors do, and its record of requests."""

import asyncio
from typing import Any

import httpx
import pytest

from dev.mock_llm import MockLLM, Recorded

USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Hi"}
ANTHROPIC = "/anthropic/v1/messages"
OPENAI = "/openai/v1/chat/completions"
NVIDIA = "/nvidia/v1/chat/completions"
OLLAMA = "/ollama/api/chat"
BODIES: dict[str, dict[str, Any]] = {
    ANTHROPIC: {"model": "mock", "messages": [USER], "max_tokens": 9},
    OPENAI: {"model": "mock", "messages": [USER]},
    NVIDIA: {"model": "mock", "messages": [USER]},
    OLLAMA: {"model": "mock", "messages": [USER]},
}
HEADERS = {"x-api-key": "key", "anthropic-version": "2023-06-01", "authorization": "Bearer key"}


def post(
    path: str, change: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[httpx.Response, Recorded]:
    """The answer to a valid request with `change` in its body, and the mock's record of it."""

    async def scenario() -> tuple[httpx.Response, Recorded]:
        async with MockLLM() as mock, httpx.AsyncClient(base_url=mock.url) as client:
            sent = HEADERS if headers is None else headers
            body = {
                name: value for name, value in (BODIES[path] | (change or {})).items() if value is not None
            }
            response = await client.post(path, headers=sent, json=body)
            return response, mock.requests[-1]

    return asyncio.run(scenario())


VALID: dict[str, list[dict[str, Any]]] = {
    ANTHROPIC: [
        {"system": "Be brief.", "temperature": 0.7},
        {"messages": [USER, ASSISTANT, USER], "stream": True},
        {"model": "claude-sonnet-4-6", "temperature": 1},
        {"model": "claude-sonnet-5-5"},
    ],
    OPENAI: [
        {"max_tokens": 9, "temperature": 2},
        {"model": "gpt-5.5", "max_completion_tokens": 9},
        {"model": "openchat", "max_tokens": 9},
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    ],
    NVIDIA: [{"max_tokens": 9, "stream": True, "stream_options": {"include_usage": True}}],
    OLLAMA: [{"options": {"num_predict": 9, "temperature": 0.7}}],
}
# Each with a word of the reason. A field of None is left out.
INVALID: dict[str, list[tuple[dict[str, Any], str]]] = {
    ANTHROPIC: [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 9}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [ASSISTANT]}, "alternate"),
        ({"messages": [USER, USER]}, "alternate"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: content"),
        ({"messages": [{"role": "system", "content": "?"}]}, "messages.0.role"),
        ({"temperature": 1.5}, "temperature"),
        # The newest models take no sampling parameters.
        ({"model": "claude-sonnet-5-5", "temperature": 1}, "temperature"),
        ({"model": "claude-opus-5", "top_p": 1}, "top_p"),
        ({"model": "claude-haiku-5-5", "temperature": 1}, "temperature"),
        ({"model": "claude-fable-5-1", "top_p": 1}, "top_p"),
        ({"model": "claude-opus-4-7", "temperature": 1}, "temperature"),
        ({"model": "claude-opus-4-8", "top_p": 1}, "top_p"),
    ],
    OPENAI: [
        ({"model": ""}, "model"),
        ({"model": "mock:tokns=9"}, "tokns"),
        ({"model": "gpt-5.5", "max_tokens": 9}, "max_completion_tokens"),
        ({"model": "gpt-6-sol", "max_tokens": 9}, "max_completion_tokens"),
        ({"model": "o3-mini", "max_tokens": 9}, "max_completion_tokens"),
        ({"max_tokens": 9, "max_completion_tokens": 9}, "both"),
        ({"system": "Be brief."}, "system"),
        ({"stream_options": {}}, "stream_options"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ],
    NVIDIA: [({"max_completion_tokens": 9}, "max_completion_tokens")],
    OLLAMA: [({"max_tokens": 9}, "max_tokens"), ({"options": [9]}, "options")],
}


@pytest.mark.parametrize("path", VALID)
def test_a_valid_request_is_answered(path):
    for change in VALID[path]:
        response, recorded = post(path, change)
        assert (response.status_code, recorded.outcome, recorded.refusal) == (200, "answered", ""), change


@pytest.mark.parametrize("path", INVALID)
def test_an_invalid_request_is_refused_with_400_and_the_reason(path):
    for change, word in INVALID[path]:
        response, recorded = post(path, change)
        assert (response.status_code, recorded.outcome) == (400, "refused"), change
        assert word in recorded.refusal, change
        error = response.json()["error"]
        assert recorded.refusal == (error if path == OLLAMA else error["message"]), change


def test_the_headers_that_the_vendor_requires_must_be_there():
    for path, headers, status in (
        (ANTHROPIC, {"anthropic-version": "2023-06-01"}, 401),
        (ANTHROPIC, {"x-api-key": "key"}, 400),
        (OPENAI, {}, 401),
        (OPENAI, {"authorization": "Bearer"}, 401),
        (NVIDIA, {"x-api-key": "key"}, 401),
        (OLLAMA, {}, 200),
    ):
        assert post(path, headers=headers)[0].status_code == status, (path, headers)


def test_a_body_that_is_not_a_json_object_is_refused():
    async def scenario() -> Any:
        async with MockLLM() as mock, httpx.AsyncClient(base_url=mock.url, headers=HEADERS) as client:
            as_text = await client.post(OPENAI, content=b"{}", headers={"content-type": "text/plain"})
            broken = await client.post(OPENAI, content=b"{", headers={"content-type": "application/json"})
            a_list = await client.post(OPENAI, json=[])
            wrong_route = await client.post("/v1/complete", json={})
            wrong_method = await client.get(OPENAI)
            return [r.status_code for r in (as_text, broken, a_list, wrong_route, wrong_method)], mock.refused

    assert asyncio.run(scenario()) == ([400, 400, 400, 404, 404], 5)


def test_connections_are_reused_and_counted():
    async def scenario() -> Any:
        async with MockLLM() as mock, httpx.AsyncClient(base_url=mock.url, headers=HEADERS) as client:
            for path in (OPENAI, NVIDIA, OLLAMA):
                await client.post(path, json=BODIES[path])
            await client.post(OPENAI, json=BODIES[OPENAI] | {"model": "mock:500"})
            await client.post(OPENAI, json={})
            return mock.hits, mock.connections

    assert asyncio.run(scenario()) == (5, 1)


def test_a_client_that_disconnects_during_an_answer_is_counted_as_aborted():
    async def scenario() -> Any:
        async with MockLLM() as mock, httpx.AsyncClient(base_url=mock.url, headers=HEADERS) as client:
            body = BODIES[OPENAI] | {"model": "mock:hang", "stream": True}
            async with client.stream("POST", OPENAI, json=body) as response:
                await anext(response.aiter_bytes())
                assert mock.open == 1
            await asyncio.wait_for(mock.idle(), 5)
            return mock.open, mock.aborted, mock.requests[-1].outcome

    assert asyncio.run(scenario()) == (0, 1, "aborted")


def test_a_client_that_disconnects_with_unread_data_is_noticed_at_once():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            _, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))
            body = (
                b'{"model":"mock:tokens=50000,coalesce=1000","messages":[{"role":"user","content":"Hello"}]}'
            )
            head = b"POST /ollama/api/chat HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\n"
            writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            await asyncio.wait_for(mock.busy(), 5)
            writer.write_eof()
            await asyncio.wait_for(mock.idle(), 5)
            writer.transport.abort()
            return mock.aborted

    assert asyncio.run(scenario()) == 1


def test_a_request_sent_before_the_last_answer_is_answered_after_it():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))
            writer.write(b"POST /_mock/reset HTTP/1.1\r\nhost: mock\r\n\r\n" * 2)
            answers = [await asyncio.wait_for(reader.readuntil(b"{}"), 5) for _ in range(2)]
            writer.transport.abort()
            return answers

    assert [answer[:15] for answer in asyncio.run(scenario())] == [b"HTTP/1.1 200 OK"] * 2


def test_data_that_is_not_http_is_refused():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))
            writer.write(b"\x16\x03\x01 a TLS client\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.transport.abort()
            return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 400 ")


def test_only_the_last_200_requests_are_kept():
    async def scenario() -> Any:
        async with MockLLM() as mock, httpx.AsyncClient(base_url=mock.url, headers=HEADERS) as client:
            for i in range(201):
                await client.post(OLLAMA, json={"n": i})
            return mock.hits, len(mock.requests), mock.requests[0].json

    assert asyncio.run(scenario()) == (201, 200, {"n": 1})


def test_the_last_request_can_be_read():
    _, recorded = post(OPENAI, {"temperature": 0.5})
    assert (recorded.method, recorded.path, recorded.model) == ("POST", OPENAI, "mock")
    assert recorded.headers["authorization"] == "Bearer key"
    assert recorded.json["temperature"] == 0.5


def test_the_mock_ends_with_open_requests_and_does_not_count_them_as_aborted():
    async def scenario() -> Any:
        async with httpx.AsyncClient(headers=HEADERS) as client:
            async with MockLLM() as mock:
                asking = asyncio.create_task(
                    client.post(mock.url + OPENAI, json=BODIES[OPENAI] | {"model": "mock:no-headers"})
                )
                await asyncio.wait_for(mock.busy(), 5)
            with pytest.raises(httpx.HTTPError):
                await asking
            return mock.open, mock.aborted

    assert asyncio.run(scenario()) == (0, 0)
