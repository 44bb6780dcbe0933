"""Search finds messages of the user by their words, in any language and for any query."""

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
    """Runs each test for every kind of table owner, because a search runs with the rights of the owner."""
    return database


@pytest.fixture
def client(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="1000/1")) as url, Client(url, USER) as client:
        yield client


def add_message(database, content, *, user_id=USER, status="complete", role="assistant", title=None):
    """Adds a message in a new conversation and returns the id of the message."""
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


def search(client, query, **params):
    response = client.get(PATH, params={"q": query, **params})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def found(client, query):
    return {result["snippet"] for result in search(client, query)}


def test_a_result_has_the_message_and_the_matches(database, client):
    add_message(database, "Another message")
    message = add_message(database, "I could not sleep, so I slept late", role="user", title="Nights")
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


def test_users_find_only_their_own_messages(database, client):
    add_message(database, "sleep is mine")
    add_message(database, "sleep is theirs", user_id=OTHER)
    assert found(client, "sleep") == {"sleep is mine"}
    assert client.get(PATH, params={"q": "sleep", "user_id": str(OTHER)}).status_code == 403
    with Client(str(client.base_url)) as without_token:
        assert without_token.get(PATH, params={"q": "sleep"}).status_code == 401


def test_a_match_has_all_words_and_the_last_may_be_a_prefix(database, client):
    add_message(database, "sleeping better")
    add_message(database, "better sleep")
    assert found(client, "better sleep") == {"sleeping better", "better sleep"}
    assert found(client, "sleep better") == {"better sleep"}
    assert found(client, "SLEEP") == {"sleeping better", "better sleep"}
    assert found(client, "leep") == set()


def test_a_query_may_have_phrases_excluded_words_and_or(database, client):
    add_message(database, "sleep well tonight")
    add_message(database, "well, sleep comes")
    add_message(database, "food and water")
    assert found(client, '"sleep well"') == {"sleep well tonight"}
    assert found(client, '"sleep wel"') == set()
    assert found(client, "sleep -comes") == {"sleep well tonight"}
    assert found(client, "sleep -com") == {"sleep well tonight", "well, sleep comes"}
    assert found(client, 'sleep -"sleep well"') == {"well, sleep comes"}
    assert found(client, "tonight or water") == {"sleep well tonight", "food and water"}
    assert found(client, "-sleep") == set()


@pytest.mark.parametrize(
    ("content", "query"),
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
def test_words_of_any_language_are_found(database, client, content, query):
    add_message(database, content)
    add_message(database, "something else")
    [result] = search(client, query)
    assert result["snippet"] == content
    assert result["matches"]


def test_the_characters_of_a_chinese_word_must_be_adjacent(database, client):
    add_message(database, "睡觉时眠")
    assert found(client, "睡眠") == set()


def test_matches_are_character_positions_and_adjacent_matches_are_merged(database, client):
    add_message(database, "Oh 🙂🙂 没有睡眠")
    [result] = search(client, "睡眠")
    assert result["matches"] == [[8, 10]]
    assert result["snippet"][8:10] == "睡眠"


def test_a_message_cannot_forge_match_marks(database, client):
    add_message(database, "<b>\x01fake\x02</b> \x03sleep <script>alert(1)</script>")
    [result] = search(client, "sleep")
    assert not re.search("[\x01-\x03]", result["snippet"])
    assert [result["snippet"][begin:end] for begin, end in result["matches"]] == ["sleep"]


def test_the_best_result_is_first_and_the_limit_is_kept(database, client):
    add_message(database, "sleep " + "and other things " * 20)
    add_message(database, "sleep sleep sleep")
    add_message(database, "and sleep " + "and other things " * 20)
    assert search(client, "sleep")[0]["snippet"] == "sleep sleep sleep"
    assert len(search(client, "sleep", limit=2)) == 2


def test_the_snippet_of_a_long_message_surrounds_the_match(database, client):
    add_message(database, "before " * 3000 + "needle " + "after " * 1000)
    [result] = search(client, "needle")
    assert len(result["snippet"]) < 400
    assert [result["snippet"][begin:end] for begin, end in result["matches"]] == ["needle"]


def test_an_answer_is_found_only_after_it_is_finished(database, client):
    message = add_message(database, "sleep", status="streaming")
    assert search(client, "sleep") == []
    database.rows("update messages set status = 'cancelled' where id = %s", (message,))
    assert len(search(client, "sleep")) == 1


def test_a_search_does_not_find_former_text_or_deleted_messages(database, client):
    changed, deleted = add_message(database, "sleep"), add_message(database, "sleep")
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
def test_any_message_of_a_million_characters_can_be_stored_and_searched(database, client, content):
    add_message(database, content[:1_000_000])
    search(client, "word")


def test_the_beginning_of_a_long_message_is_searched(database, client):
    add_message(database, "first " + "x " * 20_000 + "last")
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


def test_any_valid_query_is_answered_with_200(database, client):
    add_message(database, 'sleep a-b-c example.com/it\'s "quoted" \\ <b>bold</b> 语言')

    @hypothesis_settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(SYNTAX | st.text(max_size=200))
    def ask(query):
        response = client.get(PATH, params={"q": query})
        is_valid = query.strip() and len(query) <= 200 and "\0" not in query
        assert response.status_code == (200 if is_valid else 400), response.text

    ask()


def test_a_search_uses_the_index_and_reads_only_messages_of_its_user(server, database):
    bench.fill(server.url("postgres", database.name), 20_000)
    for query in ("b", '"cb"', '"b cb"', "b -cb"):
        plan = bench.plan(database.owner_url, bench.HEAVY_USER, query)
        assert "Index Cond: (app.search_entries(user_id, content) @@" in plan, query
        assert "Seq Scan" not in plan, query
        assert "Rows Removed" not in plan, query
        assert bench.plan(database.owner_url, uuid4(), query).count("rows=0.00") >= 3, query


def test_a_search_finds_own_messages_older_than_500_messages_of_others(database, client):
    add_message(database, "sleep is mine")
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
