"""The SDKs of the vendors understand the mock."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from dev.mock_llm import VENDOR_WORDS, MockLLM, answer_text, mock_llm_process, thinking_text

if TYPE_CHECKING:
    import anthropic

MESSAGES: Any = [{"role": "user", "content": "Hello"}]


def claude(mock: MockLLM) -> "anthropic.AsyncAnthropic":
    import anthropic  # noqa: PLC0415 (slow to import, and each worker collects this file)

    return anthropic.AsyncAnthropic(base_url=mock.base_url("anthropic"), api_key="key", max_retries=0)


def gpt(mock: MockLLM) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=mock.base_url("openai"), api_key="key", max_retries=0)


def nim(mock: MockLLM) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=mock.base_url("nvidia"), api_key="key", max_retries=0)


async def ask(client: openai.AsyncOpenAI, model: str) -> Any:
    async with client:
        return await client.chat.completions.create(model=model, messages=MESSAGES)


async def ask_claude(client: "anthropic.AsyncAnthropic", model: str) -> Any:
    async with client:
        return await client.messages.create(model=model, max_tokens=50, messages=MESSAGES)


async def stream(client: openai.AsyncOpenAI, model: str, **more: Any) -> list[Any]:
    chunks: list[Any] = []
    async with client:
        await stream_into(chunks, client, model, **more)
    return chunks


async def stream_into(chunks: list[Any], client: openai.AsyncOpenAI, model: str, **more: Any) -> None:
    stream: Any = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **more)
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401 (a comprehension would lose the chunks before an error)


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_anthropic_sdk_reads_the_stream():
    async def scenario() -> Any:
        async with MockLLM() as mock, claude(mock) as client:
            script = "mock:tokens=40,thinking=5,cached=3,cache_write=2,finish=length"
            async with client.messages.stream(model=script, max_tokens=50, messages=MESSAGES) as events:
                return await events.get_final_message()

    message = asyncio.run(scenario())
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == thinking_text("thinking=5")
    assert message.content[1].text == answer_text("tokens=40")
    assert message.stop_reason == "max_tokens"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 45)
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (3, 2)


def test_the_openai_sdk_reads_the_stream_and_gets_usage_on_request():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            asked = await stream(gpt(mock), "mock:tokens=40,cached=3", stream_options={"include_usage": True})
            return asked, await stream(gpt(mock), "mock:tokens=40,finish=content_filter")

    asked, not_asked = asyncio.run(scenario())
    assert text_of(asked) == text_of(not_asked) == answer_text("tokens=40")
    assert not_asked[-1].choices[0].finish_reason == "content_filter"
    assert [chunk.usage for chunk in not_asked if chunk.usage] == []
    assert [chunk.usage is None for chunk in asked] == [True] * 42 + [False]
    assert (asked[-1].usage.prompt_tokens, asked[-1].usage.completion_tokens) == (12, 40)
    assert asked[-1].usage.prompt_tokens_details.cached_tokens == 3


def test_a_compatible_server_shows_reasoning_and_an_empty_role():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            return await stream(nim(mock), "mock:tokens=3,thinking=2", max_tokens=9)

    chunks = asyncio.run(scenario())
    assert chunks[0].choices[0].delta.role == ""
    assert [chunk.choices[0].delta.reasoning_content for chunk in chunks[1:3]] == [
        "ullamco.",
        " exercitation",
    ]
    assert text_of(chunks) == "Lorem ipsum dolor"
    assert [chunk.usage.completion_tokens for chunk in chunks] == [0, 1, 2, 3, 4, 5, 5]


def test_ollama_streams_lines_of_json():
    async def scenario() -> Any:
        async with MockLLM() as mock, httpx.AsyncClient() as client:
            body = {"model": "mock:tokens=3,thinking=1", "messages": MESSAGES}
            response = await client.post(f"{mock.base_url('ollama')}/api/chat", json=body)
            return [httpx.Response(200, content=line).json() for line in response.text.splitlines()]

    lines = asyncio.run(scenario())
    assert [line["message"].get("thinking") for line in lines] == ["ullamco.", None, None, None, None]
    assert "".join(line["message"]["content"] for line in lines) == "Lorem ipsum dolor"
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert lines[-1]["done_reason"] == "stop"
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (12, 4)


def test_without_a_stream_the_answer_is_one_body():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            message, completion = await asyncio.gather(
                ask_claude(claude(mock), "mock"), ask(gpt(mock), "mock")
            )
            async with httpx.AsyncClient() as client:
                body = {"model": "mock", "messages": MESSAGES, "stream": False}
                return (
                    message,
                    completion,
                    (await client.post(f"{mock.base_url('ollama')}/api/chat", json=body)).json(),
                )

    message, completion, line = asyncio.run(scenario())
    assert message.content[0].text == answer_text("")
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 20)
    assert completion.choices[0].message.content == answer_text("")
    assert (completion.choices[0].finish_reason, completion.usage.total_tokens) == ("stop", 32)
    assert line["message"]["content"] == answer_text("")


def test_a_status_is_the_sdks_typed_error():
    import anthropic  # noqa: PLC0415

    async def scenario() -> Any:
        async with MockLLM() as mock:
            for status, of_anthropic, of_openai, type_in_body in (
                (400, anthropic.BadRequestError, openai.BadRequestError, "invalid_request_error"),
                (401, anthropic.AuthenticationError, openai.AuthenticationError, "authentication_error"),
                (404, anthropic.NotFoundError, openai.NotFoundError, "not_found_error"),
                (429, anthropic.RateLimitError, openai.RateLimitError, "rate_limit_error"),
                (500, anthropic.InternalServerError, openai.InternalServerError, "api_error"),
                (529, anthropic.APIStatusError, openai.InternalServerError, "overloaded_error"),
            ):
                with pytest.raises(of_anthropic, match=VENDOR_WORDS) as raised:
                    await ask_claude(claude(mock), f"mock:{status}")
                assert raised.value.status_code == status
                assert raised.value.type == type_in_body
                for make in (gpt, nim):
                    with pytest.raises(of_openai, match=VENDOR_WORDS) as refused:
                        await ask(make(mock), f"mock:{status}")
                    assert refused.value.status_code == (503 if status == 529 else status)

    asyncio.run(scenario())


def test_a_rate_limit_has_retry_after_only_if_the_script_has():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            with pytest.raises(openai.RateLimitError) as told:
                await ask(gpt(mock), "mock:429,retry_after=7")
            with pytest.raises(openai.RateLimitError) as not_told:
                await ask(gpt(mock), "mock:429")
            return told.value.response.headers, not_told.value.response.headers

    told, not_told = asyncio.run(scenario())
    assert told["retry-after"] == "7"
    assert "retry-after" not in not_told


def test_an_error_in_the_stream_is_the_sdks_error_after_the_earlier_tokens():
    import anthropic  # noqa: PLC0415

    chunks: list[Any] = []

    async def scenario() -> Any:
        async with MockLLM() as mock, claude(mock) as client:
            events = await client.messages.create(
                model="mock:error,after=2", max_tokens=50, messages=MESSAGES, stream=True
            )
            types = [(await anext(events)).type for _ in range(4)]
            with pytest.raises(anthropic.APIStatusError, match=VENDOR_WORDS) as raised:
                await anext(events)
        async with MockLLM() as mock, gpt(mock) as client:
            with pytest.raises(openai.APIError, match=VENDOR_WORDS):
                await stream_into(chunks, client, "mock:error,after=2")
        return types, raised.value.type

    types, error_type = asyncio.run(scenario())
    assert types == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]
    assert error_type == "overloaded_error"
    assert text_of(chunks) == "Lorem ipsum"


def test_the_first_requests_fail_and_then_it_answers():
    async def scenario() -> Any:
        async with MockLLM() as mock:
            for _ in range(2):
                with pytest.raises(openai.InternalServerError):
                    await ask(gpt(mock), "mock:503,fail=2")
            await ask(gpt(mock), "mock:503,fail=2")
            with pytest.raises(openai.InternalServerError):
                await ask(gpt(mock), "mock:503,fail=1")
            return mock.hits_by_model

    assert asyncio.run(scenario()) == {"mock:503,fail=2": 3, "mock:503,fail=1": 1}


def test_the_mock_runs_as_a_process():
    with mock_llm_process() as mock:
        with openai.OpenAI(base_url=mock.base_url("openai"), api_key="key", max_retries=0) as client:
            completion = client.chat.completions.create(model="mock", messages=MESSAGES)
        assert completion.choices[0].message.content == answer_text("")
        stats = mock.stats()
        assert (stats["hits"], stats["connections"] >= 1, stats["aborted"], stats["open"]) == (1, True, 0, 0)
        assert stats["requests"][0]["headers"]["authorization"] == "***"
        assert stats["requests"][0]["outcome"] == "answered"
        mock.reset()
        assert (mock.stats()["hits"], mock.stats()["requests"]) == (0, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_the_settings_and_ends_cleanly(number):
    command = [sys.executable, "-m", "dev.mock_llm", "--port", "0"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        url = process.stdout.readline().removeprefix("ready ").strip()
        process.send_signal(number)
        settings, errors = process.stdout.read(), process.stderr.read()
    assert f"NVIDIA_BASE_URL={url}/nvidia/v1\n" in settings
    assert (process.returncode, errors) == (0, "")


def test_an_obeying_model_takes_its_script_from_the_question():
    async def scenario() -> tuple[Any, Any]:
        async with MockLLM() as mock:
            said_back = await ask_claude(claude(mock), "mock:obey")
            async with gpt(mock) as client:
                messages: Any = [*MESSAGES, {"role": "user", "content": "mock:text=Yes"}]
                obeyed = await client.chat.completions.create(model="mock:obey", messages=messages)
        return said_back, obeyed

    said_back, obeyed = asyncio.run(scenario())
    assert said_back.content[0].text == "Hello"
    assert obeyed.choices[0].message.content == "Yes"
