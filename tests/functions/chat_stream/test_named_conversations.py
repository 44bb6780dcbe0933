"""Conversations with names from clients, and regenerated answers."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

USER = uuid4()


def contents(database):
    return [row["content"] for row in database.rows("select content from messages order by created_at, id")]


def finish(database, started, text):
    database.call(
        "finish_turn",
        user_id=USER,
        answer_id=started["answer_id"],
        status="complete",
        content=text,
        token_count=1,
        metadata={},
        usage=[],
    )


def add_turn(database, conversation, question, answer=None, **fields):
    started = database.begin_turn(
        USER,
        conversation_id=conversation,
        new_conversation_id=conversation,
        create_missing=True,
        question=question,
        **fields,
    )
    if answer is not None:
        finish(database, started, answer)
    return started


def test_the_first_use_of_a_name_creates_the_conversation(database):
    conversation = uuid4()
    assert add_turn(database, conversation, "one", "1")["conversation_id"] == str(conversation)
    assert add_turn(database, conversation, "two", "2")["conversation_id"] == str(conversation)
    assert contents(database) == ["one", "1", "two", "2"]


def test_an_existing_id_takes_precedence_over_a_name(database):
    known, named = uuid4(), uuid4()
    add_turn(database, known, "one", "1")
    started = database.begin_turn(USER, conversation_id=known, new_conversation_id=named, create_missing=True)
    assert started["conversation_id"] == str(known)


def test_the_conversation_id_of_another_user_is_treated_as_a_name(database):
    theirs, named = uuid4(), uuid4()
    database.begin_turn(uuid4(), conversation_id=theirs, new_conversation_id=theirs, create_missing=True)
    started = database.begin_turn(
        USER, conversation_id=theirs, new_conversation_id=named, create_missing=True
    )
    assert (started["outcome"], started["conversation_id"]) == ("started", str(named))


def test_one_of_several_parallel_first_turns_under_one_name_starts(database):
    conversation = uuid4()

    def begin(_):
        try:
            return add_turn(database, conversation, "one")["outcome"]
        except psycopg.errors.SerializationFailure:
            return add_turn(database, conversation, "one")["outcome"]

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(begin, range(4)))
    assert outcomes == ["conflict", "conflict", "conflict", "started"]


@pytest.fixture
def talk(database):
    conversation = uuid4()
    first = add_turn(database, conversation, "one", "1")
    second = add_turn(database, conversation, "two", "2")
    return conversation, first["answer_id"], second["answer_id"]


def test_the_last_answer_can_be_regenerated(database, talk):
    conversation, _, _ = talk
    started = database.begin_turn(USER, conversation_id=conversation, replaces="", question="two")
    assert [message["content"] for message in started["history"]] == ["one", "1", "two"]
    finish(database, started, "another 2")
    assert contents(database) == ["one", "1", "two", "another 2"]


def test_regenerating_an_earlier_answer_deletes_later_messages(database, talk):
    conversation, first, _ = talk
    started = database.begin_turn(USER, conversation_id=conversation, replaces=first)
    assert [message["content"] for message in started["history"]] == ["one"]
    finish(database, started, "another 1")
    assert contents(database) == ["one", "another 1"]
    [row] = database.rows("select message_count from conversations")
    assert row["message_count"] == 2


@pytest.mark.parametrize("replaces", ["00000000-0000-4000-8000-000000000009", "nonsense"])
def test_an_unknown_answer_cannot_be_regenerated(database, talk, replaces):
    conversation, _, _ = talk
    started = database.begin_turn(USER, conversation_id=conversation, replaces=replaces)
    assert started["outcome"] == "not_found"
    assert contents(database) == ["one", "1", "two", "2"]


def test_a_regeneration_over_budget_keeps_the_old_answer(database, talk):
    conversation, _, _ = talk
    started = database.begin_turn(
        USER, conversation_id=conversation, replaces="", question="two", budget=Decimal("0.000001")
    )
    assert started["outcome"] == "budget_exceeded"
    assert contents(database) == ["one", "1", "two", "2"]


def test_a_regeneration_for_a_question_without_an_answer_does_not_repeat_the_question(database):
    conversation = uuid4()
    database.as_user(USER, "insert into conversations (id, user_id) values (%s, %s)", (conversation, USER))
    database.as_user(
        USER,
        "insert into messages (id, conversation_id, user_id, role, content)"
        " values (%s, %s, %s, 'user', 'one')",
        (uuid4(), conversation, USER),
    )
    finish(
        database, database.begin_turn(USER, conversation_id=conversation, replaces="", question="one"), "1"
    )
    assert contents(database) == ["one", "1"]


def test_a_regeneration_of_a_question_that_was_not_stored_adds_the_question(database, talk):
    conversation, _, _ = talk
    finish(
        database, database.begin_turn(USER, conversation_id=conversation, replaces="", question="three"), "3"
    )
    assert contents(database) == ["one", "1", "two", "2", "three", "3"]


def test_a_regeneration_in_a_new_conversation_starts_it(database):
    finish(database, add_turn(database, uuid4(), "one", replaces=""), "1")
    assert contents(database) == ["one", "1"]
