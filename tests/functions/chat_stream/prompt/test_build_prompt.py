"""Each step of the prompt with literal input, and the model request that all steps build."""

from uuid import UUID

import pytest

from functions.chat_stream.prompt.build_prompt import build_prompt
from functions.chat_stream.prompt.history_window import history_window
from functions.chat_stream.prompt.system_prompt import default_system_prompt, system_prompt
from functions.chat_stream.records import HistoryLimits, StartedTurn
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared.llm.wire_format import ChatMessage, ChatRequest
from tests.serving import settings

USER = UUID("6f8e6a1c-0a52-4d5c-9f51-1c7d5a3e9b10")
ANSWER = UUID("0b8f5f0e-7c3a-4f5e-9b0a-3f1f6c0d2a11")
ONE = ChatMessage("user", "one")
TWO = ChatMessage("assistant", "two")
THREE = ChatMessage("user", "three")
STORED = (ChatMessage("user", "stored"), ONE)
TWO_MESSAGES = HistoryLimits(messages=2, step=1, text_bytes=1000)
NO_LIMITS = HistoryLimits(messages=100, step=50, text_bytes=10**9)


def request(*messages, **fields):
    return TurnRequest(messages=messages or (ONE,), **fields)


def started(*history, **fields):
    return StartedTurn(user_id=USER, answer_id=ANSWER, history=history, message_count=len(history), **fields)


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
    turn = started(*stored)
    assert history_window(request(*messages, conversation=conversation), turn, TWO_MESSAGES, "") == expected


@pytest.mark.parametrize("conversation", [None, ConversationRef()], ids=["stateless", "stored"])
@pytest.mark.parametrize(
    ("prompt_bytes", "expected"),
    # An answer is not kept without its question.
    [
        (None, 5),
        (25 + 5 * 20, 5),
        (25 + 5 * 20 - 1, 3),
        (25 + 3 * 20, 3),
        (25 + 3 * 20 - 1, 1),
        (25 + 20, 1),
        (1, 1),
    ],
)
def test_a_budget_shortens_the_history_and_keeps_the_question(conversation, prompt_bytes, expected):
    system = "Be kind. "  # 9 bytes; each message has 4, and 16 for the marks of its role
    pair = [ChatMessage("user", "abcd"), ChatMessage("assistant", "efgh")]
    messages = [*pair, *pair, ChatMessage("user", "ijkl")]
    turn = started(*(() if conversation is None else messages), prompt_bytes=prompt_bytes)
    asked = request(*messages, conversation=conversation)
    assert history_window(asked, turn, NO_LIMITS, system) == tuple(messages[-expected:])


@pytest.mark.parametrize(
    ("fields", "reserved", "system", "expected"),
    [
        (
            {},
            {},
            "Be kind.",
            ChatRequest(messages=(ONE,), system="Be kind.", max_tokens=4096, temperature=0.7),
        ),
        (
            {"temperature": 0, "max_tokens": 5},
            {},
            "",
            ChatRequest(messages=(ONE,), system=None, max_tokens=5, temperature=0),
        ),
        (
            {"max_tokens": 5000},
            {"max_tokens": 300},
            "",
            ChatRequest(messages=(ONE,), system=None, max_tokens=300, temperature=0.7),
        ),
    ],
    ids=["defaults", "from the client", "what the budgets pay"],
)
def test_the_request_for_the_model(fields, reserved, system, expected):
    assert build_prompt(request(**fields), started(**reserved), system, NO_LIMITS) == expected


def test_a_stored_turn_sends_the_history_of_the_database():
    prompt = build_prompt(request(conversation=ConversationRef()), started(*STORED), "", NO_LIMITS)
    assert prompt.messages == STORED
