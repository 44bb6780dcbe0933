"""The model client with all providers of the mock, over real connections."""

import asyncio
import base64
import contextlib
import os
import ssl
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dev.mock_llm import MockLLM, answer_text, partial_text, thinking_text
from shared.events import Failed, Finished, ReasoningDelta, TextDelta, Usage
from shared.llm.client import ModelClient, NoAnswer
from shared.llm.providers import PROVIDERS
from shared.llm.scripted import ScriptedTransport, answer_to
from shared.llm.wire_format import ChatMessage, ChatRequest
from shared.settings import load_settings

MOCKED_PROVIDERS = [row.name for row in PROVIDERS.values() if row.settings_prefix]
CHAT = ChatRequest(messages=(ChatMessage("user", "Hi"),), system="Be kind.", temperature=0.7)


def settings(mock):
    return load_settings({"DATABASE_URL": "unused", "JWT_SECRET": "unused", **mock.settings()})


def run(scenario, **options):
    async def main():
        async with MockLLM() as mock:
            client = ModelClient(settings(mock), **options)
            try:
                return await scenario(mock, client)
            finally:
                await client.aclose()

    return asyncio.run(main())


async def start(client, *models, seconds=2.0, chat=CHAT, **options):
    return await client.start(chat, models, asyncio.get_running_loop().time() + seconds, **options)


async def no_sleep(_):
    """Replaces the pauses between retries, so that no attempt runs into the deadline."""


async def events_of(answer):
    events = [event async for batch in answer for event in batch]
    await answer.aclose()
    return events


def ask(model, **options):
    async def scenario(mock, client):
        return await events_of(await start(client, model))

    return run(scenario, **options)


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_login_of_a_base_url_is_sent():
    async def main():
        async with MockLLM() as mock:
            url = mock.base_url("ollama").replace("http://", "http://me:p%40ss@")
            environ = {"DATABASE_URL": "unused", "JWT_SECRET": "unused", "OLLAMA_BASE_URL": url}
            client = ModelClient(load_settings(environ))
            await events_of(await start(client, "ollama/mock:tokens=1"))
            await client.aclose()
            return mock.requests[-1].headers["authorization"]

    assert asyncio.run(main()) == "Basic " + base64.b64encode(b"me:p@ss").decode()


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize(
    "script",
    [
        "tokens=10",
        "tokens=10,crlf",
        "tokens=5,chunk=1",
        "tokens=40,coalesce=7",
        "tokens=5,usage=every",
        "tokens=5,whole",
        "tokens=5,parts",
        "tokens=5,no-end",
        "tokens=5,whole,parts,encoding=deflate",
        "tokens=40,encoding=gzip",
        "tokens=40,encoding=deflate",
        "tokens=40,encoding=gzip,chunk=3",
    ],
)
def test_an_answer_has_its_text_its_usage_and_one_finish(provider, script):
    *events, end = ask(f"{provider}/mock:{script}")
    assert text_of(events) == answer_text(script)
    assert end == Finished("stop")
    usage = [event for event in events if isinstance(event, Usage)][-1]
    assert (usage.input, usage.output, usage.estimated) == (12, len(answer_text(script).split()), False)


@pytest.mark.parametrize("provider", ["anthropic", "nvidia", "ollama"])
def test_reasoning_is_separate_from_the_text(provider):
    events = ask(f"{provider}/mock:tokens=3,thinking=4")
    thinking = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert thinking == thinking_text("thinking=4")
    assert text_of(events) == answer_text("tokens=3")


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize("script", ["tags", "tags,whole"])
def test_reasoning_inside_the_text_is_separate_from_the_text(provider, script):
    events = ask(f"{provider}/mock:tokens=3,thinking=4,{script}")
    thinking = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert thinking == thinking_text("thinking=4")
    assert text_of(events) == answer_text("tokens=3")


def test_a_provider_can_be_set_to_show_think_tags():
    async def main():
        async with MockLLM() as mock:
            environ = {
                "DATABASE_URL": "x",
                "JWT_SECRET": "x",
                **mock.settings(),
                "NVIDIA_THINK_TAGS": "false",
            }
            client = ModelClient(load_settings(environ))
            events = await events_of(await start(client, "nvidia/mock:tokens=1,thinking=1,tags"))
            await client.aclose()
            return text_of(events)

    assert asyncio.run(main()).startswith("<think>")


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_a_report_of_0_tokens_is_not_final(provider):
    events = ask(f"{provider}/mock:tokens=5,usage=zero")
    assert all(event.estimated for event in events if isinstance(event, Usage))
    # Anthropic reports the prompt at the beginning too.
    assert [event.input for event in events if isinstance(event, Usage)] in ([], [12, 12])


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_unusual_characters_do_not_break_an_answer(provider):
    *events, end = ask(f"{provider}/mock:odd")
    assert end == Finished("stop")
    text = text_of(events)
    assert "\0" not in text
    assert text.encode()
    assert "[DONE]" in text


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_the_finish_reason_is_returned(provider, finish):
    if (provider, finish) == ("ollama", "content_filter"):
        pytest.skip("Ollama has no such reason")
    assert ask(f"{provider}/mock:tokens=2,finish={finish}")[-1] == Finished(finish)


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("error", None),
        ("truncate", "upstream_truncated"),
        ("cut", "upstream_truncated"),
        ("reset", "upstream_truncated"),
        ("bad-json", "upstream_invalid"),
        ("endless-line", "upstream_invalid"),
    ],
)
def test_a_broken_answer_ends_with_one_failure(provider, fault, code):
    *events, end = ask(f"{provider}/mock:tokens=10,after=4,fault={fault}")
    assert text_of(events) == partial_text(f"tokens=10,after=4,fault={fault}")
    assert isinstance(end, Failed)
    assert end.code == code if code else end.code in {"upstream_error", "upstream_overloaded"}
    assert not any(isinstance(event, Failed | Finished) for event in events)


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("400", "invalid_request"),
        ("401", "upstream_auth"),
        ("404", "model_not_found"),
        ("429", "upstream_rate_limited"),
        ("429,retry_after=60", "upstream_rate_limited"),
        ("500", "upstream_error"),
        ("529", "upstream_overloaded"),
        ("no-headers", "upstream_timeout"),
    ],
)
def test_a_refusal_raises_an_error_without_the_text_of_the_vendor(provider, script, code):
    async def scenario(mock, client):
        with pytest.raises(NoAnswer) as caught:
            await start(client, f"{provider}/mock:{script}", seconds=0.5 if script == "no-headers" else 2)
        assert caught.value.error.code == code
        assert "mock" not in caught.value.error.message
        await mock.idle()

    run(scenario)


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize(
    "script", ["500,fail=2", "529,fail=1", "429,retry_after=0.1,fail=1", "error,after=0,fail=1"]
)
def test_temporary_errors_before_the_first_token_are_retried(provider, script):
    async def scenario(mock, client):
        events = await events_of(await start(client, f"{provider}/mock:tokens=3,{script}"))
        assert text_of(events) == answer_text("tokens=3")
        assert mock.hits == int(script[-1]) + 1

    run(scenario)


@pytest.mark.parametrize(
    ("model", "hits"),
    [
        ("anthropic/mock:401", 1),
        ("openai/mock:400", 1),
        ("openai/mock:429,retry_after=30", 1),
        # Anthropic's spending limit: a 429 without retry-after.
        ("anthropic/mock:429", 1),
        ("openai/mock:tokens=5,after=2,fault=error", 1),
    ],
)
def test_final_errors_are_not_retried(model, hits):
    async def scenario(mock, client):
        with contextlib.suppress(NoAnswer):
            await events_of(await start(client, model))
        assert mock.hits == hits

    run(scenario)


@pytest.mark.wall_clock
def test_a_fallback_gets_a_share_of_the_time_if_the_first_model_is_silent():
    async def scenario(mock, client):
        started_at = time.monotonic()
        answer = await start(client, "openai/mock:no-headers", "ollama/mock:tokens=2", seconds=1)
        assert answer.target.name == "ollama/mock:tokens=2"
        assert time.monotonic() - started_at < 1
        await events_of(answer)
        await mock.idle()
        assert mock.aborted == 1

    run(scenario)


def test_several_turns_use_one_connection():
    async def scenario(mock, client):
        for _ in range(5):
            await events_of(await start(client, "openai/mock:tokens=3"))
        assert (mock.hits, mock.connections) == (5, 1)

    run(scenario)


def test_a_connection_is_not_used_again_after_a_long_idle_time():
    clock = [1000.0]

    async def scenario(mock, client):
        await events_of(await start(client, "openai/mock:tokens=3"))
        clock[0] += 3600
        await events_of(await start(client, "openai/mock:tokens=3"))
        assert (mock.hits, mock.connections) == (2, 2)

    run(scenario, now=lambda: clock[0])


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "when-open"])
def test_the_first_turn_uses_the_connection_of_the_warm_up(waits):
    async def scenario(mock, client):
        warm_up = client.warm_up()
        if waits:
            await warm_up.task
            assert (mock.hits, mock.connections) == (0, 1)
        for _ in range(2):
            await events_of(await start(client, "anthropic/mock:tokens=3"))
        assert (mock.hits, mock.connections) == (2, 1)

    run(scenario)


def test_a_turn_waits_for_the_warm_up_and_opens_no_second_connection():
    async def main():
        connected: asyncio.Queue[bool] = asyncio.Queue()
        client_left = asyncio.Event()

        async def hang_in_the_handshake(reader, writer):
            connected.put_nowait(True)
            with contextlib.suppress(OSError):
                await reader.read(-1)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            client_left.set()

        server = await asyncio.start_server(hang_in_the_handshake, "127.0.0.1", 0)
        environ = {
            "DATABASE_URL": "unused",
            "JWT_SECRET": "unused",
            "LLM_MODEL": "openai/x",
            "OPENAI_BASE_URL": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1",
        }
        client = ModelClient(load_settings(environ))
        client.warm_up()
        await connected.get()
        with pytest.raises(NoAnswer) as caught:
            await start(client, "openai/x", seconds=0.5)
        assert caught.value.error.code == "upstream_timeout"
        assert connected.empty()
        await client.aclose()
        await client_left.wait()
        server.close()

    asyncio.run(main())


def test_a_connection_of_the_warm_up_is_not_used_after_a_long_freeze():
    clock = [1000.0]

    async def scenario(mock, client):
        await client.warm_up().task
        clock[0] += 3600
        await events_of(await start(client, "anthropic/mock:tokens=3"))
        assert (mock.hits, mock.connections) == (1, 2)

    run(scenario, now=lambda: clock[0])


def test_the_first_turn_raises_if_the_warm_up_and_the_turn_cannot_reach_the_provider():
    async def main():
        environ = {"DATABASE_URL": "x", "JWT_SECRET": "x", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
        client = ModelClient(load_settings({**environ, "LLM_MODEL": "openai/x"}), sleep=no_sleep)
        await client.warm_up().task
        with pytest.raises(NoAnswer) as caught:
            await start(client, "openai/x")
        assert caught.value.error.code == "upstream_unreachable"
        await client.aclose()

    asyncio.run(main())


def test_a_closed_client_opens_a_new_connection():
    async def scenario(mock, client):
        await client.warm_up().task
        await client.aclose()
        await events_of(await start(client, "anthropic/mock:tokens=3"))
        assert mock.connections == 2

    run(scenario)


def test_closing_an_answer_early_closes_the_connection():
    async def scenario(mock, client):
        answer = await start(client, "anthropic/mock:tokens=1000,gap=10ms")
        async for _ in answer:
            break
        await answer.aclose()
        await mock.idle()
        assert mock.aborted == 1

    run(scenario)


def test_the_temperature_is_not_sent_to_models_that_refuse_it():
    async def scenario(mock, client):
        # For this model the mock refuses the parameter, as Anthropic does.
        await events_of(await start(client, "anthropic/claude-sonnet-5-5"))
        assert "temperature" not in mock.requests[-1].json
        await events_of(await start(client, "anthropic/claude-haiku-4-5"))
        assert mock.requests[-1].json["temperature"] == 0.7

    run(scenario)


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("openai/gpt-6-luna:tokens=1", "max_completion_tokens"),
        ("openai/some-local-model", "max_tokens"),
        ("nvidia/gpt-oss", "max_tokens"),
    ],
)
def test_the_token_limit_has_the_name_that_the_server_accepts(model, field):
    async def scenario(mock, client):
        await events_of(await start(client, model))
        assert {"max_tokens", "max_completion_tokens"} & set(mock.requests[-1].json) == {field}

    run(scenario)


def test_the_scripted_model_answers_the_question_with_usage():
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    async def main():
        client = ModelClient(
            load_settings({"DATABASE_URL": "x", "JWT_SECRET": "x"}), scripted=ScriptedTransport(pause)
        )
        chat = ChatRequest(messages=(ChatMessage("user", "How do I rest?"),))
        *events, end = await events_of(await start(client, "scripted/echo", chat=chat))
        await client.aclose()
        assert text_of(events) == answer_to("How do I rest?")
        assert answer_to("How do I rest?") != answer_to("How do I run?")
        usage = events[-1]
        assert isinstance(usage, Usage)
        assert usage.output == len(pauses) - 1 == sum(isinstance(event, TextDelta) for event in events)
        assert end == Finished("stop")

    asyncio.run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_tls_error_is_an_unreachable_provider_or_a_truncated_answer(when, tmp_path):
    """httpx does not convert such errors to its own."""
    context, authority = certificate(tmp_path)

    async def break_tls(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if when == "after":
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            event = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
            writer.write(head + b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.1)
        # Bytes that bypass the TLS layer and are not a TLS record.
        os.write(writer.get_extra_info("socket").fileno(), b"this is not TLS at all, is it?" * 10)

    async def main():
        server = await asyncio.start_server(break_tls, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        config = load_settings(
            {
                "DATABASE_URL": "unused",
                "JWT_SECRET": "unused",
                "OPENAI_API_KEY": "key",
                "OPENAI_BASE_URL": f"https://localhost:{port}/v1",
                "SSL_CERT_FILE": authority,
            }
        )
        client = ModelClient(config, sleep=no_sleep)
        try:
            if when == "before":
                with pytest.raises(NoAnswer) as caught:
                    await start(client, "openai/x")
                assert caught.value.error.code == "upstream_unreachable"
            else:
                *events, end = await events_of(await start(client, "openai/x"))
                assert text_of(events) == "Hi"
                assert isinstance(end, Failed)
                assert end.code == "upstream_truncated"
        finally:
            await client.aclose()
            server.close()

    asyncio.run(main())


def certificate(folder, host="localhost"):
    """The TLS context of a server, and the CA file for its clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate_ = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate_.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context, str(folder / "certificate.pem")


def test_an_attempt_that_is_silent_after_its_headers_costs_the_prompt():
    async def scenario(mock, client):
        # The mock sends its headers and no body.
        answer = await start(client, "openai/mock:no-body", "ollama/mock:tokens=2", seconds=1)
        await events_of(answer)
        return answer.failed_attempts

    [attempt] = run(scenario)
    assert attempt.target.name == "openai/mock:no-body"
    assert (attempt.usage.output, attempt.usage.estimated) == (0, True)
    assert attempt.usage.input > 0


def test_an_answer_that_fails_before_its_first_content_costs_its_reported_usage():
    async def scenario(mock, client):
        script = "anthropic/mock:input=30,error,after=0,fail=1,tokens=2"
        answer = await start(client, script)
        await events_of(answer)
        return answer.failed_attempts

    [attempt] = run(scenario)
    assert attempt.target.provider.name == "anthropic"
    assert (attempt.usage.input, attempt.usage.output, attempt.usage.estimated) == (30, 0, True)


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
@pytest.mark.parametrize(
    ("script", "code", "requests"),
    [
        # An answer that cannot be read would be no better the second time.
        ("html", "upstream_invalid", 1),
        ("bad-json,after=0", "upstream_invalid", 1),
        ("endless-line,after=0", "upstream_invalid", 1),
        ("tokens=0,finish=length", "empty_answer", 1),
        ("tokens=0", "empty_answer", 2),
        ("truncate,after=0", "upstream_truncated", 2),
        ("error,after=0", None, 2),
    ],
)
def test_each_answer_without_content_costs_its_prompt_and_is_asked_for_twice_at_most(
    provider, script, code, requests
):
    async def scenario(mock, client):
        with pytest.raises(NoAnswer) as caught:
            await start(client, f"{provider}/mock:usage=none,{script}", seconds=30)
        return caught.value, mock.hits

    failure, hits = run(scenario, sleep=no_sleep)
    assert hits == requests
    assert failure.error.code == code or code is None
    usages = [attempt.usage for attempt in failure.failed_attempts]
    assert usages == [Usage(CHAT.estimated_tokens(), 0, estimated=True)] * requests


@pytest.mark.parametrize("provider", ["anthropic", "openai", "nvidia"])
def test_an_error_in_place_of_an_answer_is_not_asked_for_again(provider):
    async def scenario(mock, client):
        with pytest.raises(NoAnswer) as caught:
            await start(client, f"{provider}/mock:error-body")
        return caught.value.error.code, mock.hits

    assert run(scenario) == ("upstream_error", 1)


def test_an_empty_answer_is_asked_for_once_more():
    async def scenario(mock, client):
        answer = await start(client, "openai/mock:tokens=3,fail=1,truncate,after=0")
        events = await events_of(answer)
        return text_of(events), len(answer.failed_attempts)

    assert run(scenario, sleep=no_sleep) == (answer_text("tokens=3"), 1)


def test_no_answer_has_the_last_error_and_the_usage_of_all_attempts():
    first, last = "anthropic/mock:input=30,error,after=0", "openai/mock:400"

    async def scenario(mock, client):
        with pytest.raises(NoAnswer) as caught:
            await start(client, first, last)
        return caught.value, mock.hits_by_model[first.removeprefix("anthropic/")]

    failure, hits = run(scenario)
    assert failure.error.code == "invalid_request"
    assert [attempt.target.name for attempt in failure.failed_attempts] == [first] * hits
    assert {attempt.usage.input for attempt in failure.failed_attempts} == {30}


def test_a_model_of_a_provider_that_is_not_configured_is_rejected():
    async def main():
        client = ModelClient(load_settings({"DATABASE_URL": "x", "JWT_SECRET": "x"}))
        with pytest.raises(NoAnswer) as caught:
            await start(client, "openai/gpt-6-luna")
        await client.aclose()
        return caught.value.error.code

    assert asyncio.run(main()) == "upstream_rejected"


def test_an_unexpected_exception_is_an_internal_error():
    class BrokenTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            raise LookupError

    async def main():
        client = ModelClient(
            load_settings({"DATABASE_URL": "x", "JWT_SECRET": "x"}), scripted=BrokenTransport()
        )
        with pytest.raises(NoAnswer) as caught:
            await start(client, "scripted/echo")
        await client.aclose()
        return caught.value.error.code

    assert asyncio.run(main()) == "internal"


def test_a_temperature_above_the_providers_maximum_is_lowered():
    async def scenario(mock, client):
        chat = ChatRequest(messages=CHAT.messages, temperature=1.8)
        await events_of(await start(client, "anthropic/claude-haiku-4-5", chat=chat))
        await events_of(await start(client, "openai/gpt-4.1", chat=chat))
        return [request.json["temperature"] for request in mock.requests]

    assert run(scenario) == [1.0, 1.8]


@pytest.mark.parametrize(("paid", "hits"), [(0, 1), (1, 2), (2, 3)])
def test_after_an_attempt_that_costs_something_the_next_one_is_reserved_first(paid, hits):
    """The model fails twice after it has reported its usage, and then answers."""
    model = "anthropic/mock:error,after=0,input=30,fail=2"
    reserved = []

    async def reserve(failed):
        reserved.append((failed.target.name, failed.usage.input))
        return len(reserved) <= paid

    async def scenario(mock, client):
        deadline = asyncio.get_running_loop().time() + 10
        # The second model is not asked either.
        models = (model, "openai/mock")
        with contextlib.suppress(NoAnswer):
            await (await client.start(CHAT, models, deadline, reserve=reserve)).aclose()
        return mock.hits

    assert run(scenario) == hits
    # A refused reservation is asked for once more, before the next model.
    assert reserved[: min(paid + 1, 2)] == [(model, 30)] * min(paid + 1, 2)
