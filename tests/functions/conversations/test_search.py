"""Finding one's own messages by what is in them, whatever the query and the language."""

import re
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bench import search as bench
from tests.serving import Client, serve, settings

USER, OTHER = uuid4(), uuid4()
PATH = "/api/chat/search"


@pytest.fixture
def database(database, owner_rights):
    """A search finds the same messages whatever rights the owner of the tables has."""
    return database


@pytest.fixture
def client(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="1000/1")) as url, Client(url, USER) as client:
        yield client


def say(database, content, *, user_id=USER, status="complete", role="assistant", title=None):
    """In a conversation of its own. Returns the message's id."""
    conversation, message = uuid4(), uuid4()
    database.rows(
        "insert into conversations (id, user_id, title) values (%s, %s, %s)", (conversation, user_id, title)
    )
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, status)"
        " values (%s, %s, %s, %s, %s, %s)",
        (message, conversation, user_id, role, content, status),
    )
    return message


def search(client, typed, **params):
    response = client.get(PATH, params={"q": typed, **params})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def found(client, typed):
    return {result["snippet"] for result in search(client, typed)}


def test_a_result_says_where_it_is_and_what_was_found(database, client):
    say(database, "Nothing of it here")
    message = say(database, "I could not sleep, so I slept late", role="user", title="Nights")
    [result] = search(client, "sleep")
    [row] = database.rows("select * from messages where id = %s", (message,))
    assert result == {
        "message_id": str(message),
        "conversation_id": str(row["conversation_id"]),
        "title": "Nights",
        "role": "user",
        "snippet": "I could not sleep, so I slept late",
        "matches": [[12, 17]],
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
    }


def test_everybody_finds_their_own_messages_only(database, client):
    say(database, "sleep is mine")
    say(database, "sleep is theirs", user_id=OTHER)
    assert found(client, "sleep") == {"sleep is mine"}
    assert client.get(PATH, params={"q": "sleep", "user_id": str(OTHER)}).status_code == 403
    with Client(str(client.base_url)) as nobody:
        assert nobody.get(PATH, params={"q": "sleep"}).status_code == 401


def test_all_words_are_wanted_the_last_of_them_may_go_on(database, client):
    say(database, "sleeping better")
    say(database, "better sleep")
    assert found(client, "better sleep") == {"sleeping better", "better sleep"}
    assert found(client, "sleep better") == {"better sleep"}
    assert found(client, "SLEEP") == {"sleeping better", "better sleep"}
    assert found(client, "leep") == set()


def test_quotes_hold_together_a_minus_excludes_and_or_is_either(database, client):
    say(database, "sleep well tonight")
    say(database, "well, sleep comes")
    say(database, "food and water")
    assert found(client, '"sleep well"') == {"sleep well tonight"}
    assert found(client, '"sleep wel"') == set()
    assert found(client, "sleep -comes") == {"sleep well tonight"}
    assert found(client, "sleep -com") == {"sleep well tonight", "well, sleep comes"}
    assert found(client, 'sleep -"sleep well"') == {"well, sleep comes"}
    assert found(client, "tonight or water") == {"sleep well tonight", "food and water"}
    assert found(client, "-sleep") == set()


@pytest.mark.parametrize(
    ("content", "typed"),
    [
        ("Ich konnte nicht einschlafen", "konnte"),
        ("Я не мог заснуть", "заснуть"),
        ("没有睡眠的夜晚", "睡眠"),
        ("夜は眠れない", "眠れ"),
        ("นอนไม่หลับ", "หลับ"),
        ("잠을 잘 수 없었다", "잠"),
        ("لم أستطع النوم", "النوم"),
        ("Kind of blue 🙂 naïve", "naïve"),
        ("write to someone@example.com", "someone@example.com"),
        ("see https://example.com/it's/here", "example.com/it's/here"),
        ("a well-known don't", "well-known don't"),
    ],
)
def test_words_of_any_language_are_found(database, client, content, typed):
    say(database, content)
    say(database, "something else")
    [result] = search(client, typed)
    assert result["snippet"] == content
    assert result["matches"]


def test_words_without_spaces_between_them_must_stand_together(database, client):
    say(database, "睡觉时眠")
    assert found(client, "睡眠") == set()


def test_matches_are_counted_in_characters_and_join_where_they_touch(database, client):
    say(database, "Oh 🙂🙂 没有睡眠")
    [result] = search(client, "睡眠")
    assert result["matches"] == [[8, 10]]
    assert result["snippet"][8:10] == "睡眠"


def test_what_stands_in_a_message_cannot_pass_for_a_mark(database, client):
    say(database, "<b>\x01fake\x02</b> \x03sleep <script>alert(1)</script>")
    [result] = search(client, "sleep")
    assert not re.search("[\x01-\x03]", result["snippet"])
    assert [result["snippet"][begin:end] for begin, end in result["matches"]] == ["sleep"]


def test_the_best_come_first_and_so_many_as_are_asked_for(database, client):
    say(database, "sleep " + "and other things " * 20)
    say(database, "sleep sleep sleep")
    say(database, "and sleep " + "and other things " * 20)
    assert search(client, "sleep")[0]["snippet"] == "sleep sleep sleep"
    assert len(search(client, "sleep", limit=2)) == 2


def test_a_long_message_is_shown_where_it_matches(database, client):
    say(database, "before " * 3000 + "needle " + "after " * 1000)
    [result] = search(client, "needle")
    assert len(result["snippet"]) < 400
    assert [result["snippet"][begin:end] for begin, end in result["matches"]] == ["needle"]


def test_an_answer_is_found_once_it_is_finished(database, client):
    message = say(database, "sleep", status="streaming")
    assert search(client, "sleep") == []
    database.rows("update messages set status = 'cancelled' where id = %s", (message,))
    assert len(search(client, "sleep")) == 1


def test_a_changed_and_a_deleted_message_are_not_found_by_what_they_were(database, client):
    changed, deleted = say(database, "sleep"), say(database, "sleep")
    database.rows("update messages set content = 'awake' where id = %s", (changed,))
    database.rows("delete from messages where id = %s", (deleted,))
    assert search(client, "sleep") == []
    assert found(client, "awake") == {"awake"}


@pytest.mark.parametrize(
    "content",
    [
        "word " * 200_000,
        "".join(f"{n:x} " for n in range(150_000)),
        "x" * 1_000_000,
        "y" * 2046,
        "".join(chr(0x20000 + n % 40_000) for n in range(1_000_000)),
        "-".join(chr(0x1E900 + n % 34) * (1 + n % 7) for n in range(200_000)),
        "/".join(f"example{n}.com" for n in range(60_000)),
        "\x01\x02\x03" * 300_000,
        "'" * 1_000_000,
        "<" * 1_000_000,
    ],
    ids=["same", "different", "one", "longest", "han", "adlam", "url", "marks", "quotes", "tags"],
)
def test_a_message_of_a_million_characters_is_stored_whatever_it_holds(database, client, content):
    say(database, content[:1_000_000])
    search(client, "word")


def test_the_beginning_of_a_long_message_is_searched(database, client):
    say(database, "first " + "x " * 20_000 + "last")
    assert len(search(client, "first")) == 1
    assert search(client, "last") == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": " \t\u3000"}, "q"),
        ({"q": "a" * 201}, "q"),
        ({"q": "a\0b"}, "q"),
        ({"q": ["a", "b"]}, "q"),
        ({"q": "a", "limit": 0}, "limit"),
        ({"q": "a", "limit": 51}, "limit"),
        ({"q": "a", "limit": "many"}, "limit"),
    ],
)
def test_a_bad_parameter_is_400_and_is_named(client, params, field):
    response = client.get(PATH, params=params)
    assert (response.status_code, response.json()["field"]) == (400, field)


SYNTAX = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "sleep",
                " ",
                '"',
                "'",
                "''",
                "\\",
                "-",
                "!",
                "&",
                "|",
                "or",
                "and",
                "(",
                ")",
                "<->",
                "<2>",
            ),
            *(":*", ":A", "*", "%", "_", "$1", "\x01", "\x02", "\x03", "语", "é", "🙂", "\ud7ff", "\uffff"),
            *(
                "example.com/it's",
                "a-b-c",
                "a@b.c",
                "<b>",
                "&amp;",
                "1.5e9",
                "-1",
                "/usr/lib",
                "\u200b",
                "\n",
            ),
        ]
    ),
    max_size=20,
).map("".join)


def test_no_query_is_too_strange(database, client):
    say(database, 'sleep a-b-c example.com/it\'s "quoted" \\ <b>bold</b> 语言')

    @hypothesis_settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(SYNTAX | st.text(max_size=200))
    def ask(typed):
        response = client.get(PATH, params={"q": typed})
        meant = typed.strip() and len(typed) <= 200 and "\0" not in typed
        assert response.status_code == (200 if meant else 400), response.text

    ask()


def test_a_search_reads_the_index_and_the_messages_of_its_user(server, database):
    bench.fill(server.url("postgres", database.name), 20_000)
    for typed in ("b", '"cb"', '"b cb"', "b -cb"):
        plan = bench.plan(database.owner_url, bench.HEAVY_USER, typed)
        assert "Index Cond: (app.search_entries(user_id, content) @@" in plan, typed
        assert "Seq Scan" not in plan, typed
        assert "Rows Removed" not in plan, typed
        assert bench.plan(database.owner_url, uuid4(), typed).count("rows=0.00") >= 3, typed


def test_own_messages_are_found_behind_500_newer_messages_of_others(database, client):
    say(database, "sleep is mine")
    conversation = uuid4()
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (conversation, OTHER))
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content)"
        " select gen_random_uuid(), %s, %s, 'user', 'sleep ' || n from generate_series(1, 501) as n",
        (conversation, OTHER),
    )
    assert found(client, "sleep") == {"sleep is mine"}
    [row] = database.as_user(USER, "select count(*) from app.find_messages('sleep', 500)")
    assert row["count"] == 1
