"""Clients of OpenAI's API use `/v1`: OpenAI's SDK, LangChain, and the command-line tool llm."""

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import openai
import pytest
from pydantic import SecretStr

from dev.mock_llm import answer_text, partial_text
from shared.settings import load_settings
from tests.serving import mocked, serve, token

USER = uuid4()
MODEL = "openai/mock:tokens=12"
REQUEST = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def environ(database, mock):
    mock.reset()
    return mocked(database.url, mock, MODEL, LLM_ALLOWED_MODELS="openai/mock:*,ollama/llama3.3")


@pytest.fixture
def url(environ):
    with serve(load_settings(environ)) as url:
        yield f"{url}/v1"


def sdk(url, key=None, client=openai.OpenAI):
    return client(base_url=url, api_key=key or token(USER), max_retries=0)


def test_the_sdk_lists_the_models(url):
    with sdk(url) as client:
        found = client.models.list()
    assert [(model.id, model.owned_by) for model in found] == [
        (MODEL, "openai"),
        ("ollama/llama3.3", "ollama"),
    ]


def test_the_sdk_reads_a_stream_with_its_usage(url):
    with sdk(url) as client:
        stream = client.chat.completions.create(
            **REQUEST, stream=True, stream_options={"include_usage": True}, temperature=0.2, max_tokens=100
        )
        first, *chunks, finish, usage = list(stream)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == answer_text("tokens=12")
    assert (finish.choices[0].finish_reason, finish.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens, usage.usage.total_tokens) == (
        12,
        12,
        24,
    )
    assert {chunk.id for chunk in chunks} == {first.id} == {usage.id}
    assert {chunk.model for chunk in (first, *chunks, finish, usage)} == {MODEL}
    assert all(chunk.usage is None for chunk in (first, *chunks, finish))


def test_the_stream_helper_of_the_sdk_collects_the_answer(url):
    with (
        sdk(url) as client,
        client.chat.completions.stream(**REQUEST, stream_options={"include_usage": True}) as stream,
    ):
        events = list(stream)
        answer = stream.get_final_completion()
    whole = answer_text("tokens=12")
    assert "".join(event.delta for event in events if event.type == "content.delta") == whole
    assert [event.content for event in events if event.type == "content.done"] == [whole]
    assert answer.choices[0].message.content == whole
    assert answer.usage.total_tokens == 24


def test_the_sdk_reads_a_json_answer(url, database):
    with sdk(url) as client:
        answer = client.chat.completions.create(**REQUEST)
    assert answer.choices[0].message.content == answer_text("tokens=12")
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 12)
    [row] = database.rows("select message_id, cost_usd from usage_logs")
    assert answer.id == f"chatcmpl-{row['message_id']}"
    assert row["cost_usd"] > Decimal(0)


def test_the_asynchronous_sdk_reads_answers_streams_models_and_errors(url):
    async def talk():
        async with sdk(url, client=openai.AsyncOpenAI) as client:
            whole, stream, models = await asyncio.gather(
                client.chat.completions.create(**REQUEST),
                client.chat.completions.create(**REQUEST, stream=True),
                client.models.list(),
            )
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(**REQUEST, n=2)
            return whole.choices[0].message.content, "".join(pieces), len(models.data)

    text = answer_text("tokens=12")
    assert asyncio.run(talk()) == (text, text, 2)


def test_a_bad_key_is_an_authentication_error(url):
    with sdk(url, key="nonsense") as client:
        for ask in (lambda: client.chat.completions.create(**REQUEST), client.models.list):
            with pytest.raises(openai.AuthenticationError) as refused:
                ask()
            assert refused.value.type == "authentication_error"
            assert refused.value.code == "unauthorized"


@pytest.mark.parametrize(
    ("unsupported", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"model": "gpt-9"}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "t"}]}, "messages[0].role"),
    ],
)
def test_an_unsupported_parameter_is_a_bad_request_that_names_it(url, unsupported, param):
    with sdk(url) as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**REQUEST, **unsupported})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("script", "status", "code", "param", "words"),
    [
        (
            "context=1",
            400,
            "context_length_exceeded",
            "messages",
            "This model's maximum context length is 1 tokens. Please reduce the length of the messages.",
        ),
        (
            "filter=a",
            400,
            "content_filter",
            None,
            "the content filter of the model provider refused the messages",
        ),
        ("404", 404, "model_not_found", None, "the model provider does not have this model"),
        ("400", 400, "invalid_request", None, "the model provider refused the request"),
    ],
)
def test_a_permanent_refusal_of_the_model_provider_is_told_once(
    url, mock, script, status, code, param, words
):
    mock.reset()
    asked = {"model": f"openai/mock:{script}", "messages": [{"role": "user", "content": "a question"}]}
    with sdk(url) as client, pytest.raises(openai.APIStatusError) as refused:
        client.with_options(max_retries=2).chat.completions.create(**{**REQUEST, **asked})
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", param)
    assert refused.value.response.json()["error"]["message"] == words
    assert mock.stats()["hits"] == (2 if script == "context=1" else 1)


def test_too_many_turns_are_a_rate_limit_error_with_retry_after(environ):
    with serve(load_settings({**environ, "RATE_LIMIT_CHAT": "1/60"})) as url, sdk(f"{url}/v1") as client:
        client.chat.completions.create(**REQUEST)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**REQUEST)
    assert (refused.value.type, refused.value.code) == ("rate_limit_error", "rate_limited")
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


def test_a_refusal_of_the_model_provider_is_a_server_error(environ):
    with serve(load_settings({**environ, "LLM_MODEL": "openai/mock:401"})) as url, sdk(f"{url}/v1") as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(**{**REQUEST, "model": "openai/mock:401"})
    assert (refused.value.status_code, refused.value.type) == (502, "api_error")
    assert refused.value.code == "upstream_auth"


def test_a_truncated_answer_raises_an_error_in_the_stream(url):
    truncated = {**REQUEST, "model": "openai/mock:tokens=9&after=4&fault=truncate"}
    with sdk(url) as client:
        stream = client.chat.completions.create(**truncated, stream=True)
        received = [next(stream).choices[0].delta.content for _ in range(5)]
        with pytest.raises(openai.APIError) as error:
            next(stream)
    assert "".join(received) == partial_text("tokens=9&after=4")
    assert error.value.message == "Coach is taking a moment. Let's try again."
    assert (error.value.type, error.value.code) == ("api_error", "upstream_truncated")


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_incomplete_answer_has_its_finish_reason(url, finish):
    with sdk(url) as client:
        request = {**REQUEST, "model": f"openai/mock:tokens=3&finish={finish}"}
        whole = client.chat.completions.create(**request)
        *_, last = client.chat.completions.create(**request, stream=True)
    assert whole.choices[0].finish_reason == last.choices[0].finish_reason == finish


def langchain(url, key):
    import langchain_openai  # noqa: PLC0415 (slow to import, and each worker collects this file)

    return langchain_openai.ChatOpenAI(base_url=url, api_key=SecretStr(key), model=MODEL, max_retries=0)


def test_langchain_reads_answers_and_streams(url):
    model = langchain(url, token(USER))
    messages = [("system", "Be kind."), ("human", "Hi")]
    answer = model.invoke(messages)
    chunks = list(model.stream(messages))
    async_answer = asyncio.run(model.ainvoke(messages))
    whole = answer_text("tokens=12")
    assert answer.content == async_answer.content == "".join(chunk.text for chunk in chunks) == whole
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (12, 12)


def test_langchain_raises_the_errors_of_the_sdk(url):
    with pytest.raises(openai.AuthenticationError):
        langchain(url, "nonsense").invoke("Hi")


def test_the_command_line_tool_llm_asks_and_continues_a_conversation(url, tmp_path, database):
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: coach\n  model_name: {MODEL}\n  api_base: {url}\n  api_key_name: coach\n"
    )

    def llm(*arguments):
        command = [str(Path(sys.executable).parent / "llm"), *arguments]
        environ = {**os.environ, "LLM_USER_PATH": str(tmp_path)}
        done = subprocess.run(
            command,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return done.stdout.strip()

    llm("keys", "set", "coach", "--value", token(USER))
    assert llm("-m", "coach", "-s", "Be kind.", "Hi") == answer_text("tokens=12")
    assert llm("-m", "coach", "--continue", "And now?") == answer_text("tokens=12")
    assert llm("-m", "coach", "--no-stream", "Hi") == answer_text("tokens=12")
    rows = database.rows("select tokens_in from usage_logs")
    assert len(rows) == 3
