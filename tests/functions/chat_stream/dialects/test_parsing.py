"""Each dialect parses its requests and refuses invalid ones with the name of the field."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.chat_stream.dialects import AI_SDK, DIALECTS, NATIVE, OPENAI
from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.named_events import NamedEventsDialect
from functions.chat_stream.dialects.openai_chat import model_list
from functions.chat_stream.dialects.stateless import StatelessDialect
from functions.chat_stream.dialects.unsupported_fields import _REQUEST_FIELDS, _camel_case
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
        "/chat-stream": None,
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
        ("reasoning_effort", "low"),
        ("verbosity", "high"),
        ("top_k", 40),
        ("chat_template_kwargs", {"enable_thinking": True}),
        ("guided_json", {}),
        ("models", ["a", "b"]),
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
        "store": False, "service_tier": "auto", "parallel_tool_calls": True, "prompt_cache_key": "k",
        "safety_identifier": "s", "prediction": {"type": "content", "content": "x"}, "top_k": -1,
    }  # fmt: skip
    assert parse(OPENAI, model="m", messages=[THREE], **ignored).messages == CHAT_MESSAGES[2:]


def test_openai_reads_the_refusal_of_an_earlier_answer():
    refusal = {"role": "assistant", "content": None, "refusal": "two"}
    assert parse(OPENAI, model="m", messages=[ONE, refusal, THREE]).messages == CHAT_MESSAGES


_BY_CAMEL = {_camel_case(name): neutral for name, neutral in _REQUEST_FIELDS.items()}
# A value for each field that would change the answer, with the dialects that do not support the field.
EVERY = ["/chat-stream", "/stream-chat", "/api/chat", "/api/stream", "/v1/chat/completions", "/api/ui/chat"]
STORING = ["/chat-stream", "/api/chat", "/api/stream", "/api/ui/chat"]
UNSUPPORTED: list[tuple[str, Any, list[str]]] = [
    ("tools", [{"type": "function", "function": {"name": "f"}}], EVERY),
    ("tools", {"f": {"parameters": {}}}, EVERY),
    ("toolChoice", "required", EVERY),
    ("tool_choice", {"name": "f"}, EVERY),
    ("topP", 0.9, EVERY),
    ("top_p", 0.9, EVERY),
    ("topK", 40, EVERY),
    ("stopSequences", ["\n"], EVERY),
    ("stop", ["\n"], EVERY),
    ("presencePenalty", 1, EVERY),
    ("responseFormat", {"type": "json_object"}, EVERY),
    ("reasoning", True, EVERY),
    ("reasoningEffort", "high", EVERY),
    ("thinking", {"type": "enabled", "budget_tokens": 1024}, EVERY),
    ("webSearch", True, EVERY),
    ("files", ["f1"], EVERY),
    ("images", ["iVBORw0KGgo="], EVERY),
    ("modelId", "gpt-5", EVERY),
    ("prompt", "Hi", EVERY),
    ("message", "Hi", ["/stream-chat", "/api/chat", "/api/stream", "/v1/chat/completions"]),
    ("messages", [ONE], ["/chat-stream"]),
    ("system", "Be kind.", [route for route in EVERY if route != "/api/ui/chat"]),
    ("systemPrompt", "Be kind.", [route for route in EVERY if route != "/api/stream"]),
    ("temperature", 0.2, ["/api/stream"]),
    ("max_tokens", 10, ["/chat-stream", "/api/stream", "/api/ui/chat"]),
    ("maxTokens", 10, [route for route in EVERY if route != "/chat-stream"]),
    ("options", {"temperature": 0.2}, ["/api/stream"]),
    ("format", "json", ["/api/stream"]),
    ("stream", False, ["/chat-stream", "/stream-chat", "/api/stream", "/api/ui/chat"]),
    ("conversationId", str(CONVERSATION), [route for route in STORING if route != "/chat-stream"]),
    ("conversation_id", str(CONVERSATION), [route for route in STORING if route != "/api/chat"]),
    ("chatId", "c", [route for route in STORING if route != "/api/stream"]),
    ("selectedChatModel", "gpt-5", [route for route in EVERY if route != "/api/ui/chat"]),
]


@pytest.mark.parametrize(
    ("route", "field", "value"),
    [
        pytest.param(route, field, value, id=f"{route} {number} {field}")
        for number, (field, value, routes) in enumerate(UNSUPPORTED)
        for route in routes
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(route, field, value):
    dialect = DIALECT_OF[route]
    with pytest.raises(InvalidRequest) as refused:
        parse(dialect, **GOOD_BODIES[dialect], **{field: value})
    assert refused.value.field == field
    assert parse(dialect, **GOOD_BODIES[dialect], **{field: None})


@pytest.mark.parametrize("route", EVERY)
def test_fields_that_change_nothing_are_ignored(route):
    neutral = {
        "tools": {}, "toolChoice": "auto", "topP": 1, "stop": [], "presencePenalty": 0, "reasoning": False,
        "thinking": {"type": "disabled"}, "webSearch": False, "files": [], "responseFormat": {"type": "text"},
        "stream": True, "user": "u", "metadata": {"page": 3}, "seed": 7, "timestamp": 1, "keep_alive": "5m",
        "locale": "de", "selectedVisibilityType": "private", "anything": {"else": [1]},
    }  # fmt: skip
    dialect = DIALECT_OF[route]
    expected = parse(dialect, **GOOD_BODIES[dialect], stream=True)
    assert parse(dialect, **GOOD_BODIES[dialect], **neutral) == expected


@given(
    name=st.sampled_from(sorted({*_REQUEST_FIELDS, *map(_camel_case, _REQUEST_FIELDS)})),
    value=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
    route=st.sampled_from(EVERY),
)
def test_a_known_field_is_used_refused_or_changes_nothing(name, value, route):
    dialect = DIALECT_OF[route]
    neutral = (None, *_REQUEST_FIELDS.get(name, ()), *_BY_CAMEL.get(name, ()), 0.7, 4096)
    try:
        turn = parse(dialect, **GOOD_BODIES[dialect] | {name: value})
    except InvalidRequest:
        return
    assert value in neutral or turn != parse(dialect, **GOOD_BODIES[dialect])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_calls", [{"id": "t"}]),
        ("function_call", {"name": "f"}),
        ("toolInvocations", [{"state": "result"}]),
        ("images", ["iVBORw0KGgo="]),
        ("experimental_attachments", [{"url": "data:"}]),
        ("audio", {"id": "a"}),
    ],
)
def test_content_of_a_message_that_the_model_would_not_get_is_refused(field, value):
    for dialect in WITH_MESSAGES:
        for number in range(2):
            messages = [ONE, TWO, THREE]
            messages[number] = messages[number] | {field: value}
            with pytest.raises(InvalidRequest) as refused:
                parse(dialect, **GOOD_BODIES[dialect] | {"messages": messages})
            assert refused.value.field == f"messages[{number}].{field}"


def test_a_stored_turn_uses_only_the_last_message():
    images = {"images": ["iVBORw0KGgo="]}
    stored = {"conversation_id": str(CONVERSATION)}
    assert parse(CHAT, messages=[ONE | images, TWO, THREE], **stored).question == "three"
    with pytest.raises(InvalidRequest) as refused:
        parse(CHAT, messages=[ONE, TWO, THREE | images], **stored)
    assert refused.value.field == "messages[2].images"


def test_the_model_list_has_the_format_of_openai():
    assert model_list(["openai/gpt-5", "ollama/llama3.3:1b"], 1_700_000_000) == {
        "object": "list",
        "data": [
            {"id": "openai/gpt-5", "object": "model", "created": 1_700_000_000, "owned_by": "openai"},
            {"id": "ollama/llama3.3:1b", "object": "model", "created": 1_700_000_000, "owned_by": "ollama"},
        ],
    }


def test_ui_reads_the_body_of_vercel_chatbot():
    """`prepareSendMessagesRequest` of github.com/vercel/chatbot, components/chat.tsx."""
    chatbot = {"id": str(CONVERSATION), "message": ui_message(id="u1"), "selectedVisibilityType": "private"}
    turn = parse(AI_SDK, **chatbot, selectedChatModel="anthropic/claude-haiku-4-5")
    assert (turn.messages, turn.model) == (CHAT_MESSAGES[2:], "anthropic/claude-haiku-4-5")
    assert turn.conversation == ConversationRef(CONVERSATION, str(CONVERSATION))
    assert parse(AI_SDK, **chatbot, selectedChatModel="chat-model").model is None
    # A retry can use either form.
    same = parse(AI_SDK, id=str(CONVERSATION), messages=[ui_message(id="u1")])
    assert turn.idempotency_key == same.idempotency_key


def test_ui_reads_the_body_of_assistant_ui():
    """`AssistantChatTransport` of @assistant-ui/ai-sdk 0.0.7."""
    body = {
        "callSettings": {"temperature": 0.2, "maxTokens": 100},
        "system": "Be kind.",
        "config": {"modelName": "gpt-5"},
        "tools": {},
        "id": "chat",
        "messages": [ui_message(id="m1", metadata={"custom": {}})],
        "trigger": "submit-message",
        "metadata": {"a": 1},
    }
    turn = parse(AI_SDK, **body)
    assert (turn.system, turn.model, turn.temperature, turn.max_tokens) == ("Be kind.", "gpt-5", 0.2, 100)
    empty = {"callSettings": {}, "system": "", "config": {}, "tools": {}}
    turn = parse(AI_SDK, id="chat", messages=[ui_message()], **empty)
    assert (turn.system, turn.model, turn.temperature, turn.max_tokens) == (None, None, None, None)


def test_ui_uses_system_messages():
    system = {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be kind."}]}
    turn = parse(AI_SDK, id="chat", messages=[system, ui_message()], system="You are a coach.")
    assert (turn.system, turn.messages) == ("You are a coach.\n\nBe kind.", CHAT_MESSAGES[2:])


def test_ui_accepts_equal_values_in_several_fields():
    turn = parse(AI_SDK, id="c", messages=[ui_message()], model="m", config={"modelName": "m"})
    assert turn.model == "m"


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
    ([AI_SDK], {"messageId": "m1"}, "messageId"),
    ([AI_SDK], {"messageId": "m3"}, "messageId"),
    ([AI_SDK], {"messages": None}, "messages"),
    ([AI_SDK], {"message": ui_message()}, "message"),
    ([AI_SDK], {"messages": None, "message": ui_message(" ")}, "message.parts"),
    ([AI_SDK], {"messages": None, "message": ui_message(role="assistant")}, "message"),
    ([AI_SDK], {"messages": None, "message": ui_message(parts=[{"type": "file"}])}, "message.parts"),
    ([AI_SDK], {"messages": None, "message": ui_message(files=[1])}, "message.files"),
    ([AI_SDK], {"messages": [ui_message(files=[1])]}, "messages[0].files"),
    ([AI_SDK], {"system": LONG + "x"}, "system"),
    ([AI_SDK], {"system": LONG, "messages": [ui_message("x", role="system"), ui_message()]}, "messages"),
    ([AI_SDK], {"callSettings": {"topP": 0.9}}, "callSettings.topP"),
    ([AI_SDK], {"callSettings": {"temperature": 3}}, "callSettings.temperature"),
    ([AI_SDK], {"callSettings": {"temperature": 1}, "temperature": 0}, "callSettings.temperature"),
    ([AI_SDK], {"config": {"apiKey": "sk-1"}}, "config.apiKey"),
    ([AI_SDK], {"config": {"baseUrl": "http://localhost"}}, "config.baseUrl"),
    ([AI_SDK], {"config": {"modelName": "a"}, "model": "b"}, "config.modelName"),
    ([AI_SDK], {"selectedChatModel": "a", "model": "b"}, "selectedChatModel"),
]  # fmt: skip
GOOD_BODIES: dict[Dialect, dict[str, Any]] = {
    NATIVE: {"message": "one"},
    STREAM_CHAT: {"messages": [ONE]},
    CHAT: {"messages": [ONE]},
    STREAM: {"messages": [ONE], "model": "m"},
    OPENAI: {"messages": [ONE], "model": "m"},
    AI_SDK: {"id": "chat", "messages": [ui_message()], "trigger": "submit-message"},
}


DIALECT_OF = {dialect.route: dialect for dialect in GOOD_BODIES}


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
