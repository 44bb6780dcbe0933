"""Conversations that clients name themselves, and answers that are asked for again."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

USER = uuid4()


def contents(database):
    return [row["content"] for row in database.rows("select content from messages order by created_at, id")]


def finish(database, begun, text):
    database.call(
        "finish_turn",
        user_id=USER,
        answer_id=begun["answer_id"],
        status="complete",
        content=text,
        token_count=1,
        metadata={},
        usage=[],
    )


def say(database, conversation, question, answer=None, **given):
    begun = database.begin_turn(
        USER,
        conversation_id=conversation,
        new_conversation_id=conversation,
        create_missing=True,
        question=question,
        **given,
    )
    if answer is not None:
        finish(database, begun, answer)
    return begun


def test_a_conversation_is_made_when_it_is_first_named_and_used_from_then_on(database):
    conversation = uuid4()
    assert say(database, conversation, "one", "1")["conversation_id"] == str(conversation)
    assert say(database, conversation, "two", "2")["conversation_id"] == str(conversation)
    assert contents(database) == ["one", "1", "two", "2"]


def test_a_conversation_known_by_its_id_is_preferred_to_one_of_that_name(database):
    known, named = uuid4(), uuid4()
    say(database, known, "one", "1")
    begun = database.begin_turn(USER, conversation_id=known, new_conversation_id=named, create_missing=True)
    assert begun["conversation_id"] == str(known)


def test_the_id_of_another_users_conversation_is_only_a_name(database):
    theirs, named = uuid4(), uuid4()
    database.begin_turn(uuid4(), conversation_id=theirs, new_conversation_id=theirs, create_missing=True)
    begun = database.begin_turn(USER, conversation_id=theirs, new_conversation_id=named, create_missing=True)
    assert (begun["outcome"], begun["conversation_id"]) == ("started", str(named))


def test_of_two_first_turns_under_one_name_one_begins_and_the_other_tries_again(database):
    conversation = uuid4()

    def begin(_):
        try:
            return say(database, conversation, "one")["outcome"]
        except psycopg.errors.SerializationFailure:
            return say(database, conversation, "one")["outcome"]

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(begin, range(4)))
    assert outcomes == ["conflict", "conflict", "conflict", "started"]


@pytest.fixture
def talk(database):
    conversation = uuid4()
    first = say(database, conversation, "one", "1")
    second = say(database, conversation, "two", "2")
    return conversation, first["answer_id"], second["answer_id"]


def test_the_last_answer_is_written_anew(database, talk):
    conversation, _, _ = talk
    begun = database.begin_turn(USER, conversation_id=conversation, replaces="", question="two")
    assert [message["content"] for message in begun["history"]] == ["one", "1", "two"]
    finish(database, begun, "another 2")
    assert contents(database) == ["one", "1", "two", "another 2"]


def test_an_earlier_answer_is_written_anew_and_what_came_after_it_goes(database, talk):
    conversation, first, _ = talk
    begun = database.begin_turn(USER, conversation_id=conversation, replaces=first)
    assert [message["content"] for message in begun["history"]] == ["one"]
    finish(database, begun, "another 1")
    assert contents(database) == ["one", "another 1"]
    [row] = database.rows("select message_count from conversations")
    assert row["message_count"] == 2


@pytest.mark.parametrize("replaces", ["00000000-0000-4000-8000-000000000009", "nonsense"])
def test_an_answer_that_is_not_there_cannot_be_written_anew(database, talk, replaces):
    conversation, _, _ = talk
    begun = database.begin_turn(USER, conversation_id=conversation, replaces=replaces)
    assert begun["outcome"] == "not_found"
    assert contents(database) == ["one", "1", "two", "2"]


def test_without_money_for_another_answer_the_old_one_stays(database, talk):
    conversation, _, _ = talk
    begun = database.begin_turn(
        USER, conversation_id=conversation, replaces="", question="two", budget=Decimal("0.000001")
    )
    assert begun["outcome"] == "budget_exceeded"
    assert contents(database) == ["one", "1", "two", "2"]


def test_a_question_without_an_answer_gets_one_without_being_asked_twice(database):
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


def test_a_question_that_was_refused_and_is_asked_again_is_no_other_answer_to_the_one_before(database, talk):
    conversation, _, _ = talk
    finish(
        database, database.begin_turn(USER, conversation_id=conversation, replaces="", question="three"), "3"
    )
    assert contents(database) == ["one", "1", "two", "2", "three", "3"]


def test_a_question_that_was_refused_in_a_new_chat_begins_it_when_asked_again(database):
    finish(database, say(database, uuid4(), "one", replaces=""), "1")
    assert contents(database) == ["one", "1"]
