"""Each step of the prompt with literal input, and the model request that all steps build."""

from uuid import UUID

import pytest

from functions.chat_stream.prompt.build_prompt import build_prompt
from functions.chat_stream.prompt.history_window import history_window
from functions.chat_stream.prompt.system_prompt import default_system_prompt, system_prompt
from functions.chat_stream.records import StartedTurn
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared.llm.wire_format import ChatMessage, ChatRequest
from tests.serving import settings

USER = UUID("6f8e6a1c-0a52-4d5c-9f51-1c7d5a3e9b10")
ANSWER = UUID("0b8f5f0e-7c3a-4f5e-9b0a-3f1f6c0d2a11")
ONE = ChatMessage("user", "one")
TWO = ChatMessage("assistant", "two")
THREE = ChatMessage("user", "three")
STORED = (ChatMessage("user", "stored"), ONE)


def request(*messages, **fields):
    return TurnRequest(messages=messages or (ONE,), **fields)


def started(*history):
    return StartedTurn(user_id=USER, answer_id=ANSWER, history=history)


@pytest.mark.parametrize(
    ("requested", "expected"),
    [(None, "Be kind."), ("", ""), ("Be brief.", "Be brief.")],
    ids=["none", "empty", "from the client"],
)
def test_the_system_prompt_is_from_the_client_or_the_default(requested, expected):
    assert system_prompt(request(system=requested), "Be kind.") == expected


def test_the_default_system_prompt_is_from_the_settings_or_from_the_file_of_the_project(tmp_path):
    (tmp_path / "prompt.md").write_text("Be brief.\n")
    configured = settings("postgresql://", SYSTEM_PROMPT_FILE=str(tmp_path / "prompt.md"))
    assert default_system_prompt(configured) == "Be brief."
    prompt_of_project = default_system_prompt(settings("postgresql://"))
    assert len(prompt_of_project) > 100
    assert prompt_of_project == prompt_of_project.strip()


@pytest.mark.parametrize(
    ("messages", "conversation", "stored", "expected"),
    [
        ((ONE, TWO, THREE), None, (), (ONE, TWO, THREE)),
        ((ONE, TWO, THREE), ConversationRef(), STORED, STORED),
        ((ONE, TWO, THREE), ConversationRef(), (), (TWO, THREE)),
        ((ONE,), ConversationRef(), (), (ONE,)),
    ],
    ids=["stateless", "stored", "not stored", "not stored, short"],
)
def test_the_history_window(messages, conversation, stored, expected):
    assert history_window(request(*messages, conversation=conversation), stored, 2) == expected


@pytest.mark.parametrize(
    ("fields", "system", "expected"),
    [
        ({}, "Be kind.", ChatRequest(messages=(ONE,), system="Be kind.", max_tokens=4096, temperature=0.7)),
        (
            {"temperature": 0, "max_tokens": 5},
            "",
            ChatRequest(messages=(ONE,), system=None, max_tokens=5, temperature=0),
        ),
    ],
    ids=["defaults", "from the client"],
)
def test_the_request_for_the_model(fields, system, expected):
    assert build_prompt(request(**fields), started(), system, history_limit=20) == expected


def test_a_stored_turn_sends_the_history_of_the_database():
    prompt = build_prompt(request(conversation=ConversationRef()), started(*STORED), "", history_limit=1)
    assert prompt.messages == STORED
