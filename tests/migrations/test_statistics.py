"""The triggers keep the message count, tokens, times and title of a conversation."""

import threading
from uuid import uuid4

import psycopg
import pytest

USER = uuid4()


@pytest.fixture
def conversation(database):
    [row] = database.as_user(
        USER, "insert into conversations (id, user_id) values (%s, %s) returning id", (uuid4(), USER)
    )
    return row["id"]


def add_message(database, conversation, content, role="user", tokens=0):
    database.as_user(
        USER,
        "insert into messages (id, conversation_id, user_id, role, content, token_count)"
        " values (%s, %s, %s, %s, %s, %s)",
        (uuid4(), conversation, USER, role, content, tokens),
    )


def stats(database, conversation):
    [row] = database.rows("select * from conversations where id = %s", (conversation,))
    return row


def test_counts_tokens_and_times_follow_the_messages(database, conversation):
    add_message(database, conversation, "one", tokens=5)
    add_message(database, conversation, "two", role="assistant", tokens=7)
    row = stats(database, conversation)
    newest = database.rows("select max(created_at) as at from messages")[0]["at"]
    assert (row["message_count"], row["total_tokens"], row["last_message_at"]) == (2, 12, newest)
    assert row["updated_at"] >= newest

    database.as_user(USER, "update messages set token_count = 10 where role = 'assistant'")
    assert stats(database, conversation)["total_tokens"] == 15
    database.as_user(USER, "delete from messages where role = 'user'")
    row = stats(database, conversation)
    assert (row["message_count"], row["total_tokens"]) == (1, 10)


def test_parallel_messages_leave_exact_counts_and_no_deadlock(database, conversation):
    failed = []

    def write():
        try:
            for _ in range(5):
                add_message(database, conversation, "x", tokens=1)
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    row = stats(database, conversation)
    assert (row["message_count"], row["total_tokens"]) == (50, 50)


def test_deleting_a_conversation_deletes_its_messages(database, conversation):
    add_message(database, conversation, "one")
    database.as_user(USER, "delete from conversations")
    assert database.rows("select 1 from messages") == []


def test_the_first_question_sets_the_title(database, conversation):
    add_message(database, conversation, "Hello there", role="assistant")
    assert stats(database, conversation)["title"] is None
    add_message(database, conversation, "My *first* question")
    add_message(database, conversation, "My second question")
    assert stats(database, conversation)["title"] == "My first question"


def test_a_question_does_not_change_a_title_set_by_the_user(database, conversation):
    database.as_user(USER, "update conversations set title = 'Mine'")
    add_message(database, conversation, "A question")
    assert stats(database, conversation)["title"] == "Mine"


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("  How\n\n do \t I sleep?  ", "How do I sleep?"),
        ("# Plan\n\n- **first** thing", "Plan first thing"),
        ("See [the docs](https://example.com/a_b) and ![a cat](cat.png)", "See the docs and a cat"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("_so_ and so_so", "so and so_so"),
        ("> 1. quoted", "quoted"),
        ("word " * 40, ("word " * 16).strip() + "…"),
        ("語" * 200, "語" * 79 + "…"),
        ("a" * 80, "a" * 80),
        ("**", None),
        ("   ", None),
    ],
)
def test_make_title_shortens_text_and_removes_markdown(database, content, title):
    [row] = database.rows("select app.make_title(%s) as title", (content,))
    assert row["title"] == title
    assert title is None or len(title) <= 80
