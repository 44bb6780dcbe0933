"""What the model client does when a provider refuses a request."""

import pytest
from msgspec import structs

from dev.mock_llm import answer_text
from shared.events import Finished
from shared.llm.client import NoAnswer
from shared.llm.wire_format import ChatMessage, ChatRequest
from shared.metrics import METRICS
from tests.shared.llm.test_client import CHAT, MOCKED_PROVIDERS, events_of, run, start, text_of

CONVERSATION = ChatRequest(
    messages=(
        *(ChatMessage(role, f"{n} " * 400) for n in range(9) for role in ("user", "assistant")),
        ChatMessage("user", "And now?"),
    ),
    system="Be kind.",
    max_tokens=500,
)
FALLBACK = "ollama/mock:tokens=2"


def outcome(*models, chat=CHAT, times=1, **options):
    """The name of the model that answers the last of `times` requests, or the code of the error, and the
    requests of the first model."""

    async def scenario(mock, client):
        for _ in range(times):
            try:
                answer = await start(client, *models, chat=chat, **options)
                await events_of(answer)
                result = answer.target.name
            except NoAnswer as failure:
                result = failure.error.code
        first = models[0].partition("/")[2]
        return result, [request for request in mock.requests if request.model == first]

    return run(scenario)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("400", "invalid_request"),
        ("401", "upstream_auth"),
        ("403", "upstream_auth"),
        ("404", "model_not_found"),
        ("context=1", "context_length_exceeded"),
        ("filter=Hi", "content_filter"),
    ],
)
@pytest.mark.parametrize("times", [1, 7])
def test_a_chosen_model_that_refuses_is_not_replaced(script, code, times):
    result, requests = outcome(f"openai/mock:{script}", FALLBACK, is_choice=True, times=times)
    assert result == code
    assert len(requests) == times * (2 if script == "context=1" else 1)


@pytest.mark.parametrize("script", ["429", "500", "503", "no-headers", "reset,after=0"])
def test_a_chosen_model_is_replaced_in_an_outage(script):
    assert outcome(f"anthropic/mock:{script}", FALLBACK, is_choice=True, seconds=1)[0] == FALLBACK


def test_a_chosen_model_without_a_paid_account_is_replaced():
    assert outcome("anthropic/mock:402", FALLBACK, is_choice=True)[0] == FALLBACK


def test_the_fallbacks_of_a_chosen_model_are_replaced_after_any_error():
    assert outcome("anthropic/mock:500", "openai/mock:404", FALLBACK, is_choice=True)[0] == FALLBACK


@pytest.mark.parametrize("script", ["400", "401", "404", "500", "context=1"])
def test_the_default_model_is_replaced_after_any_error(script):
    assert outcome(f"openai/mock:{script}", FALLBACK)[0] == FALLBACK


def test_no_other_model_is_asked_what_a_filter_refused():
    assert outcome("openai/mock:filter=Hi", FALLBACK)[0] == "content_filter"


@pytest.mark.parametrize("script", ["400", "401", "404", "context=1"])
def test_refusals_do_not_open_the_circuit(script):
    result, requests = outcome(f"openai/mock:{script}", FALLBACK, times=7)
    assert result == FALLBACK
    assert len(requests) == 7 * (2 if script == "context=1" else 1)


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_a_prompt_that_is_too_long_is_shortened_and_sent_once_more(provider):
    # Ollama's limit is its window, and the mock refuses what exceeds it.
    result, [first, second] = outcome(f"{provider}/mock:context=2000,tokens=2", chat=CONVERSATION)
    assert result == f"{provider}/mock:context=2000,tokens=2"
    assert first.refusal
    long, short = first.json["messages"], second.json["messages"]
    assert len(short) < len(long)
    assert short[-1] == long[-1]
    assert "Be kind." in second.body.decode()


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_a_prompt_that_does_not_fit_after_that_is_refused(provider):
    result, requests = outcome(f"{provider}/mock:context=1,tokens=2", chat=CONVERSATION)
    assert (result, len(requests)) == ("context_length_exceeded", 2)


def test_a_long_answer_is_bounded_if_the_prompt_cannot_be_shortened():
    chat = structs.replace(CHAT, max_tokens=4096)
    result, [_, second] = outcome("nvidia/mock:context=2000,tokens=2", chat=chat)
    assert result == "nvidia/mock:context=2000,tokens=2"
    assert second.json["max_tokens"] == 1000


def test_the_answer_knows_the_request_that_was_sent():
    async def scenario(mock, client):
        answer = await start(client, "openai/mock:context=2000,tokens=2", chat=CONVERSATION)
        await events_of(answer)
        return answer.chat_request

    assert 1 < len(run(scenario).messages) < len(CONVERSATION.messages)


def test_a_model_without_a_system_role_gets_the_system_prompt_in_its_first_message():
    async def scenario(mock, client):
        for _ in range(2):
            events = await events_of(await start(client, "nvidia/my-gemma:tokens=2"))
            assert (text_of(events), events[-1]) == (answer_text("tokens=2"), Finished("stop"))
        return [request.json["messages"] for request in mock.requests]

    refused, *accepted = run(scenario)
    assert refused[0] == {"role": "system", "content": "Be kind."}
    # The client asks once with a system role, and remembers the refusal.
    assert accepted == [[{"role": "user", "content": "Be kind.\n\nHi"}]] * 2


def test_a_known_model_without_a_system_role_is_not_asked_with_one():
    async def scenario(mock, client):
        await events_of(await start(client, "nvidia/google/gemma-2-9b-it:tokens=2"))
        return [request.json["messages"] for request in mock.requests]

    assert run(scenario) == [[{"role": "user", "content": "Be kind.\n\nHi"}]]


@pytest.mark.parametrize("provider", MOCKED_PROVIDERS)
def test_roles_alternate_for_every_provider(provider):
    messages = [
        ChatMessage("assistant", "Welcome!"),
        ChatMessage("user", "One"),
        ChatMessage("user", "Two"),
        ChatMessage("assistant", " "),
        ChatMessage("user", "Three"),
    ]

    async def scenario(mock, client):
        chat = structs.replace(CHAT, messages=tuple(messages))
        await events_of(await start(client, f"{provider}/mock:tokens=2", chat=chat))
        return [message for message in mock.requests[-1].json["messages"] if message["role"] != "system"]

    sent = run(scenario)
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[-1]["content"] == "One\n\nTwo\n\nThree"


def test_refusals_are_no_errors_of_the_provider_in_the_metrics(caplog):
    assert "upstream_errors" in METRICS
    for script, count in {"404": None, "400": None, "401": 1, "500": 1}.items():
        caplog.clear()
        outcome(f"openai/mock:{script}")
        [record] = caplog.records
        assert record.upstream_errors == count, script
