"""Each dialect parses its requests and refuses invalid ones with the name of the field."""

import json
from typing import Any
from uuid import UUID

import pytest

from functions.chat_stream.dialects import AI_SDK, DIALECTS, OPENAI
from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.named_events import NamedEventsDialect
from functions.chat_stream.dialects.openai_chat import model_list
from functions.chat_stream.dialects.stateless import StatelessDialect
from functions.chat_stream.dialects.web_app import WebAppDialect
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared.errors import InvalidRequest
from shared.llm.wire_format import ChatMessage

SYSTEM = {"role": "system", "content": "Be kind."}
ONE = {"role": "user", "content": "one"}
TWO = {"role": "assistant", "content": "two"}
THREE = {"role": "user", "content": "three"}
CHAT_MESSAGES = (ChatMessage("user", "one"), ChatMessage("assistant", "two"), ChatMessage("user", "three"))
CONVERSATION = UUID("00000000-0000-4000-8000-00000000000c")
LONG = "x" * 32_000


def parse(dialect, **body):
    return dialect.parse(json.dumps(body).encode())


def ui_message(text="three", **more):
    return {"id": "m3", "role": "user", "parts": [{"type": "text", "text": text}], **more}


def test_stream_chat_has_its_own_defaults():
    turn = parse(StatelessDialect(), messages=[SYSTEM, ONE, TWO, THREE])
    assert turn == TurnRequest(messages=CHAT_MESSAGES, system="Be kind.", temperature=0.7, max_tokens=1000)
    turn = parse(StatelessDialect(), messages=[THREE], model="openai/gpt-5", temperature=0, max_tokens=10)
    assert turn == TurnRequest(messages=CHAT_MESSAGES[2:], model="openai/gpt-5", temperature=0, max_tokens=10)


def test_chat_is_stored_if_it_has_a_conversation_id():
    turn = parse(WebAppDialect(), messages=[ONE, TWO, THREE], conversation_id=str(CONVERSATION))
    assert turn == TurnRequest(messages=CHAT_MESSAGES, conversation=ConversationRef(CONVERSATION))
    assert parse(WebAppDialect(), messages=[THREE], conversation_id=None) == TurnRequest(
        messages=CHAT_MESSAGES[2:]
    )


def test_chat_has_an_option_for_json_and_one_for_groups_of_words():
    turn = parse(WebAppDialect(), messages=[THREE], stream=False, chunk_words=3, temperature=1, model="gpt-5")
    assert turn == TurnRequest(
        messages=CHAT_MESSAGES[2:], stream=False, chunk_words=3, temperature=1, model="gpt-5"
    )


def test_a_client_may_send_more_than_200_messages_of_a_stored_conversation():
    many = [ONE, TWO] * 150 + [THREE]
    assert len(parse(WebAppDialect(), messages=many, conversation_id=str(CONVERSATION)).messages) == 301
    assert len(parse(NamedEventsDialect(), messages=many, model="llama3.3", chatId="diary").messages) == 301


def test_stream_accepts_ids_and_timestamps_of_any_type():
    messages = [
        {**ONE, "id": 1, "timestamp": 1_700_000_000},
        {**TWO, "timestamp": "2026-11-21T00:00:00Z"},
        {**THREE, "id": "m3", "timestamp": {"seconds": 1}},
    ]
    assert parse(NamedEventsDialect(), messages=messages, model="llama3.3") == TurnRequest(
        messages=CHAT_MESSAGES, model="llama3.3"
    )


@pytest.mark.parametrize(
    ("chat_id", "conversation"),
    [
        ("the chat", ConversationRef(None, "the chat")),
        (str(CONVERSATION), ConversationRef(CONVERSATION, str(CONVERSATION))),
        ("", None),
    ],
)
def test_stream_is_stored_under_the_name_from_the_client(chat_id, conversation):
    messages = [SYSTEM, {**THREE, "id": "m3"}]
    turn = parse(
        NamedEventsDialect(), messages=messages, model="m", chatId=chat_id, systemPrompt="You are a coach."
    )
    assert turn.conversation == conversation
    assert turn.system == "You are a coach.\n\nBe kind."
    assert (turn.idempotency_key is None) == (conversation is None)


def test_the_idempotency_key_depends_on_the_question_before_a_last_system_message():
    reminder = {"id": "reminder", "role": "system", "content": "Be brief."}

    def key(content):
        messages = [{"id": "m1", "role": "user", "content": content}, reminder]
        return parse(NamedEventsDialect(), messages=messages, model="m", chatId="chat").idempotency_key

    assert key("one") != key("two")


def test_the_idempotency_key_depends_on_conversation_message_id_and_question():
    def key(chat_id="chat", **message):
        return parse(
            NamedEventsDialect(), messages=[{**THREE, "id": "m3", **message}], model="m", chatId=chat_id
        ).idempotency_key

    keys = [key(), key(chat_id="other"), key(id="m4"), key(content="four")]
    assert len(set(keys)) == 4
    assert key() == keys[0]
    assert key(id=None) is None


def test_openai_accepts_all_forms_of_messages():
    messages = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": " kind."}],
        },
        {"role": "user", "content": "one", "name": "Ann"},
        {"role": "assistant", "content": "two", "refusal": None, "tool_calls": None},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
    ]
    turn = parse(
        OPENAI,
        model="m",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        temperature=1.5,
        max_tokens=7,
        max_completion_tokens=8,
    )
    assert turn == TurnRequest(
        messages=CHAT_MESSAGES,
        system="Be kind.",
        model="m",
        temperature=1.5,
        max_tokens=8,
        include_usage=True,
    )


def test_openai_answers_with_json_by_default():
    turn = parse(OPENAI, model="m", messages=[THREE], max_tokens=7)
    assert turn == TurnRequest(messages=CHAT_MESSAGES[2:], system="", model="m", max_tokens=7, stream=False)


def test_without_a_system_message_only_openai_requests_have_an_empty_prompt():
    systems = {dialect.route: parse(dialect, **body).system for dialect, body in GOOD_BODIES.items()}
    assert systems == {
        "/stream-chat": None,
        "/api/chat": None,
        "/api/stream": None,
        "/v1/chat/completions": "",
        "/api/ui/chat": None,
    }


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("modalities", ["text", "audio"]),
        ("response_format", {"type": "json_object"}),
        ("web_search_options", {}),
        ("stop", "\n"),
        ("top_p", 0.9),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -0.5),
    ],
)
def test_unsupported_openai_parameters_are_refused_by_name(parameter, value):
    with pytest.raises(InvalidRequest) as refused:
        parse(OPENAI, model="m", messages=[THREE], **{parameter: value})
    assert refused.value.field == parameter
    assert parse(OPENAI, model="m", messages=[THREE], **{parameter: None})


def test_openai_parameters_that_change_nothing_are_ignored():
    ignored = {
        "tools": [], "tool_choice": "none", "n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {},
        "modalities": ["text"], "response_format": {"type": "text"}, "stop": [], "top_p": 1.0,
        "presence_penalty": 0, "frequency_penalty": 0.0, "seed": 7, "user": "u", "metadata": {"a": "b"},
        "store": False, "service_tier": "auto", "parallel_tool_calls": True, "reasoning_effort": "low",
    }  # fmt: skip
    assert parse(OPENAI, model="m", messages=[THREE], **ignored).messages == CHAT_MESSAGES[2:]


def test_the_model_list_has_the_format_of_openai():
    assert model_list(["openai/gpt-5", "ollama/llama3.3:1b"], 1_700_000_000) == {
        "object": "list",
        "data": [
            {"id": "openai/gpt-5", "object": "model", "created": 1_700_000_000, "owned_by": "openai"},
            {"id": "ollama/llama3.3:1b", "object": "model", "created": 1_700_000_000, "owned_by": "ollama"},
        ],
    }


def test_ui_reads_only_the_last_message():
    before = [
        ui_message("x" * 100_000, id="m1"),
        {"id": "a1", "role": "assistant", "metadata": {"a": 1}, "parts": [
            {"type": "step-start"}, {"type": "reasoning", "text": "hm", "state": "done"},
            {"type": "text", "text": "two"}, {"type": "file", "url": "data:", "mediaType": "image/png"},
            {"type": "tool-x", "toolCallId": "t", "state": "output-available", "input": {}, "output": 1},
        ]},
    ]  # fmt: skip
    last = {"id": "m3", "role": "user", "parts": [
        {"type": "data-note", "data": {"a": 1}},
        {"type": "text", "text": "th"}, {"type": "text", "text": "ree"},
    ]}  # fmt: skip
    turn = parse(
        AI_SDK, id="chat", messages=[*before, last], trigger="submit-message", model="m", temperature=1
    )
    assert (turn.messages, turn.model, turn.temperature) == (CHAT_MESSAGES[2:], "m", 1)
    assert turn.conversation == ConversationRef(None, "chat")


@pytest.mark.parametrize("chat_id", ["chat", str(CONVERSATION)])
def test_ui_accepts_any_conversation_name(chat_id):
    turn = parse(AI_SDK, id=chat_id, messages=[ui_message()])
    assert turn.conversation == ConversationRef(CONVERSATION if chat_id != "chat" else None, chat_id)


def test_a_repeated_ui_message_has_the_same_idempotency_key():
    def key(chat_id="chat", **message):
        return parse(
            AI_SDK, id=chat_id, messages=[ui_message(**message)], trigger="submit-message"
        ).idempotency_key

    assert len({key(), key(), key(chat_id="other"), key(id="m4"), key(text="four")}) == 4
    assert key(id="") is None


@pytest.mark.parametrize(
    ("message_id", "replaces"),
    [("a7", "a7"), (None, ""), ("m3", "")],
    ids=["id of the answer", "no id", "id of the question"],
)
def test_ui_requests_a_regenerated_answer(message_id, replaces):
    body = {"id": "chat", "messages": [ui_message()], "trigger": "regenerate-message"}
    turn = parse(AI_SDK, **body, messageId=message_id)
    assert turn.conversation == ConversationRef(None, "chat", replaces)
    assert turn.idempotency_key is None


STREAM_CHAT, CHAT, STREAM = StatelessDialect(), WebAppDialect(), NamedEventsDialect()
WITH_MESSAGES: list[Dialect] = [STREAM_CHAT, CHAT, STREAM, OPENAI]
BAD_BODIES: list[tuple[list[Dialect], dict[str, Any], str]] = [
    (WITH_MESSAGES, {"messages": []}, "messages"),
    (WITH_MESSAGES, {"messages": None}, "messages"),
    (WITH_MESSAGES, {"messages": "Hi"}, "messages"),
    (WITH_MESSAGES, {"messages": [ONE] * 201}, "messages"),
    (WITH_MESSAGES, {"messages": [TWO]}, "messages"),
    (WITH_MESSAGES, {"messages": [ONE, TWO]}, "messages"),
    (WITH_MESSAGES, {"messages": [SYSTEM]}, "messages"),
    (WITH_MESSAGES, {"messages": ["Hi"]}, "messages[0]"),
    (WITH_MESSAGES, {"messages": [ONE, {"role": "tool", "content": "x"}]}, "messages[1].role"),
    (WITH_MESSAGES, {"messages": [{"content": "x"}]}, "messages[0].role"),
    (WITH_MESSAGES, {"messages": [ONE, {"role": "user", "content": " \n"}]}, "messages[1].content"),
    (WITH_MESSAGES, {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    (WITH_MESSAGES, {"messages": [{"role": "user", "content": LONG + "x"}]}, "messages[0].content"),
    (WITH_MESSAGES, {"messages": [SYSTEM, {**SYSTEM, "content": LONG}, ONE]}, "messages"),
    (WITH_MESSAGES, {"model": ""}, "model"),
    (WITH_MESSAGES, {"model": 5}, "model"),
    ([STREAM_CHAT, CHAT], {"temperature": 2.1}, "temperature"),
    ([STREAM_CHAT, CHAT], {"temperature": "1"}, "temperature"),
    ([STREAM_CHAT, CHAT], {"max_tokens": 0}, "max_tokens"),
    ([CHAT], {"stream": "yes"}, "stream"),
    ([CHAT], {"conversation_id": "chat"}, "conversation_id"),
    ([CHAT], {"chunk_words": 0}, "chunk_words"),
    ([CHAT], {"chunk_words": 101}, "chunk_words"),
    ([STREAM], {"model": None}, "model"),
    ([STREAM], {"chatId": "x" * 201}, "chatId"),
    ([STREAM], {"chatId": 7}, "chatId"),
    ([STREAM], {"systemPrompt": LONG + "x"}, "systemPrompt"),
    ([STREAM], {"messages": [{**ONE, "id": [1]}]}, "messages[0].id"),
    ([OPENAI], {"model": None}, "model"),
    ([OPENAI], {"temperature": 3}, "temperature"),
    ([OPENAI], {"max_tokens": 0}, "max_tokens"),
    ([OPENAI], {"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ([OPENAI], {"stream_options": []}, "stream_options"),
    ([OPENAI], {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ([OPENAI], {"messages": [ONE, {**TWO, "tool_calls": [{}]}, THREE]}, "messages[1].tool_calls"),
    (
        [OPENAI],
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].type",
    ),
    (
        [OPENAI],
        {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}] * 2}]},
        "messages[0].content",
    ),
    ([AI_SDK], {"id": None}, "id"),
    ([AI_SDK], {"id": ""}, "id"),
    ([AI_SDK], {"id": "x" * 201}, "id"),
    ([AI_SDK], {"messages": []}, "messages"),
    ([AI_SDK], {"messages": [ui_message(), {**ui_message(), "role": "assistant"}]}, "messages"),
    ([AI_SDK], {"messages": [ui_message(role="tool")]}, "messages[0].role"),
    ([AI_SDK], {"messages": [ui_message(parts="Hi")]}, "messages[0].parts"),
    ([AI_SDK], {"messages": [ui_message(" ")]}, "messages[0].parts"),
    ([AI_SDK], {"messages": [ui_message(LONG + "x")]}, "messages[0].parts"),
    ([AI_SDK], {"messages": [ui_message(parts=[{"type": "file", "url": "data:"}])]}, "messages[0].parts"),
    ([AI_SDK], {"trigger": "resume"}, "trigger"),
    ([AI_SDK], {"messageId": 5}, "messageId"),
]  # fmt: skip
GOOD_BODIES: dict[Dialect, dict[str, Any]] = {
    STREAM_CHAT: {"messages": [ONE]},
    CHAT: {"messages": [ONE]},
    STREAM: {"messages": [ONE], "model": "m"},
    OPENAI: {"messages": [ONE], "model": "m"},
    AI_SDK: {"id": "chat", "messages": [ui_message()], "trigger": "submit-message"},
}


@pytest.mark.parametrize(
    ("dialect", "invalid", "field"),
    [
        pytest.param(dialect, invalid, field, id=f"{dialect.route} {number} {field}")
        for number, (dialects, invalid, field) in enumerate(BAD_BODIES)
        for dialect in dialects
    ],
)
def test_a_bad_body_is_refused_with_the_name_of_the_field(dialect, invalid, field):
    good = GOOD_BODIES[dialect]
    assert parse(dialect, **good)
    with pytest.raises(InvalidRequest) as refused:
        parse(dialect, **{**good, **invalid})
    assert refused.value.field == field
    assert "x" * 100 not in refused.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"Hi"', b"null", b"\xff", b'{"messages": NaN}'])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.route)
def test_a_body_that_is_not_a_json_object_is_refused(dialect, body):
    with pytest.raises(InvalidRequest):
        dialect.parse(body)
