"""The history that the database returns when a turn begins."""

from uuid import UUID, uuid4

import pytest

USER = uuid4()


@pytest.fixture
def conversation_id(database) -> UUID:
    conversation_id = uuid4()
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (conversation_id, USER))
    return conversation_id


def add(database, conversation_id, *contents, first=1):
    """Adds questions and answers, one each second."""
    for number, content in enumerate(contents, start=first):
        role = "user" if number % 2 else "assistant"
        database.rows(
            "insert into messages (id, conversation_id, user_id, role, content, created_at)"
            " values (%s, %s, %s, %s, %s, timestamptz '2026-01-01' + make_interval(secs => %s))",
            (uuid4(), conversation_id, USER, role, content, number),
        )


def begin(database, conversation_id, **fields):
    limits = {"history_limit": 4, "history_step": 2, "history_bytes": 10**9, "history_characters": 32_000}
    request = {"question": "now", "rate_limit": 100, **limits, **fields}
    started = database.begin_turn(USER, conversation_id=conversation_id, **request)
    database.rows("update turns set status = 'complete', settled_at = now()")
    return started


def texts(started):
    return [message["content"] for message in started["history"]]


def test_the_start_moves_in_steps(database, conversation_id):
    """With the question there are 1, 3, 5, 7, 9 messages; four or five of them are returned."""
    windows = []
    for count in (0, 2, 4, 6, 8):
        database.rows("delete from messages")
        add(database, conversation_id, *[str(number) for number in range(1, count + 1)])
        started = begin(database, conversation_id)
        assert started["message_count"] == count + 1
        windows.append(texts(started))
    assert windows == [
        ["now"],
        ["1", "2", "now"],
        ["1", "2", "3", "4", "now"],
        ["3", "4", "5", "6", "now"],
        ["5", "6", "7", "8", "now"],
    ]


def test_a_repeated_call_and_a_regeneration_have_the_same_history(database, conversation_id):
    add(database, conversation_id, *"1234567")
    add(database, conversation_id, "8", first=8)
    answer_id = uuid4()
    started = begin(database, conversation_id, answer_id=answer_id)
    again = begin(database, conversation_id, answer_id=answer_id)
    assert (texts(again), again["message_count"]) == (texts(started), started["message_count"])
    database.rows("update messages set content = 'an answer' where id = %s", (answer_id,))
    regenerated = begin(database, conversation_id, replaces=str(answer_id))
    assert (texts(regenerated), regenerated["message_count"]) == (texts(started), started["message_count"])


def test_one_message_more_than_the_bytes_is_returned(database, conversation_id):
    """The caller sees that the history does not fit, and chooses its start."""
    add(database, conversation_id, *["x" * 10] * 4)
    # The question has 3 bytes.
    for limit, count in ((43, 5), (33, 5), (32, 4), (13, 3), (12, 2), (3, 2), (0, 1)):
        assert len(begin(database, conversation_id, history_bytes=limit)["history"]) == count, limit
        database.rows("delete from messages where content in ('now', '')")


def test_bytes_are_counted_and_not_characters(database, conversation_id):
    add(database, conversation_id, "日" * 10, "y", "日" * 10, "y")
    assert len(begin(database, conversation_id, history_bytes=30)["history"]) == 3


def test_a_long_message_is_cut_in_the_prompt_and_not_in_the_store(database, conversation_id):
    add(database, conversation_id, "ä" * 100, "x" * 50, "y" * 10)
    started = begin(database, conversation_id, history_characters=20)
    assert texts(started) == ["ä" * 20, "x" * 20, "y" * 10, "now"]
    stored = database.rows("select char_length(content) as length from messages order by created_at limit 2")
    assert [row["length"] for row in stored] == [100, 50]


def test_an_answer_of_this_service_is_not_cut(database, conversation_id):
    started = begin(database, conversation_id)
    database.rows("update messages set content = repeat('x', 50) where id = %s", (started["answer_id"],))
    again = begin(database, conversation_id, history_characters=20)
    assert texts(again) == ["now", "x" * 50, "now"]


def test_five_imports_of_a_million_characters_are_a_small_prompt(database, conversation_id):
    add(database, conversation_id, *["x" * 1_000_000] * 5)
    started = begin(database, conversation_id, history_limit=20)
    assert [len(text) for text in texts(started)] == [32_000] * 5 + [3]


def test_messages_without_text_are_left_out(database, conversation_id):
    add(database, conversation_id, "1", "", "2", "3")
    assert texts(begin(database, conversation_id)) == ["1", "2", "3", "now"]
