"""Export and import of a conversation: complete, in order, repeatable, and only for its user."""

import asyncio
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import httpx
import pytest

from tests.serving import Client, serve, settings

USER, OTHER = uuid4(), uuid4()
PATH = "/api/chat/conversations"
IMPORT = "/api/chat/import"
CONVERSATION = UUID("00000000-0000-4000-8000-000000000001")
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def url(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="10000/1")) as url:
        yield url


@pytest.fixture
def client(url):
    with Client(url, USER) as client:
        yield client


def make_archive(messages=(), **conversation):
    return {
        "format": "serverless-chat/1",
        "conversation": {"id": str(CONVERSATION), "created_at": BEGIN.isoformat()} | conversation,
        "messages": [make_message(number) | message for number, message in enumerate(messages)],
    }


def make_message(number):
    return {
        "id": str(UUID(int=number)),
        "role": "assistant" if number % 2 else "user",
        "content": f"message {number}",
        "created_at": (BEGIN + timedelta(seconds=number)).isoformat(),
    }


def store(database, messages, *, user_id=USER, title="Nights"):
    database.rows(
        "insert into conversations (id, user_id, title, model, tags, context_window, created_at)"
        " values (%s, %s, %s, 'a/model', '{one,two}', 8000, %s)",
        (CONVERSATION, user_id, title, BEGIN),
    )
    database.rows(
        "insert into messages"
        " (id, conversation_id, user_id, role, content, status, token_count, metadata, created_at)"
        " select gen_random_uuid(), %s, %s, m.role, m.content, coalesce(m.status, 'complete'), 7,"
        '     \'{"model": "a/model"}\', m.created_at'
        " from jsonb_populate_recordset(null::messages, %s::jsonb) as m",
        (CONVERSATION, user_id, json.dumps(make_archive(messages)["messages"])),
    )


def export(client, conversation=CONVERSATION, **params):
    return client.get(f"{PATH}/{conversation}/export", params=params)


MIXED = [
    {"content": "How do I sleep?"},
    {"content": "Well, I hope.\n\n- *dark*\n- quiet 🙂", "status": "cancelled"},
    {"content": 'A "quoted" \\ text with \x01 and \u2028'},
    {"content": "", "status": "error"},
]


def test_an_export_has_the_conversation_and_all_messages(database, client):
    store(database, MIXED)
    response = export(client)
    archive = response.json()
    page = client.get(f"{PATH}/{CONVERSATION}/messages").json()
    assert response.headers["content-type"] == "application/json"
    assert archive == {
        "format": "serverless-chat/1",
        "conversation": {
            "id": str(CONVERSATION),
            "title": "Nights",
            "model": "a/model",
            "tags": ["one", "two"],
            "context_window": 8000,
            "created_at": "2026-01-01T12:00:00Z",
        },
        "messages": page["messages"],
    }
    assert [message["content"] for message in archive["messages"]] == [m["content"] for m in MIXED]


def test_an_export_of_many_pages_is_in_order_and_complete(database, client):
    # All messages have the same time, so pages begin between equal times.
    store(database, [{"created_at": BEGIN.isoformat(), "content": str(n)} for n in range(450)])
    messages = export(client).json()["messages"]
    assert [(m["created_at"], m["id"]) for m in messages] == sorted(
        (m["created_at"], m["id"]) for m in messages
    )
    assert sorted(int(message["content"]) for message in messages) == list(range(450))


def test_an_empty_conversation_can_be_exported(database, client):
    store(database, [], title=None)
    assert export(client).json()["messages"] == []
    assert export(client, format="markdown").text == "# Conversation\n"


def test_a_markdown_export_has_headings_and_texts(database, client):
    store(database, MIXED[:2])
    response = export(client, format="markdown")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text == (
        "# Nights\n"
        "\n## User, 2026-01-01 12:00 UTC\n\nHow do I sleep?\n"
        "\n## Assistant, 2026-01-01 12:00 UTC (cancelled)\n\nWell, I hope.\n\n- *dark*\n- quiet 🙂\n"
    )


@pytest.mark.parametrize(
    ("title", "plain", "encoded"),
    [
        ("Nights", "Nights", "Nights"),
        ("Näin ei 🙂 käy", "N_in ei k_y", "N%C3%A4in%20ei%20k%C3%A4y"),
        ('a"b\r\nSet-Cookie: x; ../../etc', "a b Set-Cookie x etc", "a%20b%20Set-Cookie%20x%20etc"),
        ("睡眠", "__", "%E7%9D%A1%E7%9C%A0"),
        ("...", "conversation", "conversation"),
        ("long " * 39, "long " * 15 + "long", "%20".join(["long"] * 16)),
    ],
)
def test_the_file_name_is_the_title_in_safe_characters(database, client, title, plain, encoded):
    store(database, [], title=title)
    assert export(client).headers["content-disposition"] == (
        f"attachment; filename=\"{plain}.json\"; filename*=UTF-8''{encoded}.json"
    )
    assert export(client, format="markdown").headers["content-disposition"].endswith(".md")


def test_an_export_is_streamed_page_by_page(database, url):
    """A message that is added after the first pages were sent is in the export."""
    store(database, [{"content": "x" * 100_000} for _ in range(200)])
    with (
        Client(url, USER) as client,
        client.stream("GET", f"{PATH}/{CONVERSATION}/export") as response,
    ):
        chunks = response.iter_bytes(65_536)
        assert next(chunks).startswith(b'{"format":"serverless-chat/1"')
        database.rows(
            "insert into messages (id, conversation_id, user_id, role, content)"
            " values (gen_random_uuid(), %s, %s, 'user', 'added late')",
            (CONVERSATION, USER),
        )
        rest = b"".join(chunks)
    assert b"added late" in rest
    assert rest.endswith(b"\n]}\n")


def test_a_client_that_disconnects_during_an_export_leaves_no_open_transaction(database, url):
    store(database, [{"content": "x" * 100_000} for _ in range(300)])
    with Client(url, USER) as client:
        with client.stream("GET", f"{PATH}/{CONVERSATION}/export") as response:
            next(response.iter_bytes(1000))
        assert len(export(client).json()["messages"]) == 300
    busy = "select 1 from pg_stat_activity where usename = 'chat_app' and state <> 'idle'"
    assert database.rows(busy) == []


def test_the_conversation_of_another_user_and_an_unknown_one_get_the_same_404(database, client):
    store(database, MIXED, user_id=OTHER)
    answers = [export(client, conversation) for conversation in (CONVERSATION, uuid4(), "nonsense")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


def test_an_unknown_format_is_400(database, client):
    store(database, [])
    response = export(client, format="pdf")
    assert (response.status_code, response.json()["field"]) == (400, "format")


def test_an_import_restores_an_exported_conversation(database, client):
    store(database, MIXED)
    exported = export(client).json()
    client.delete(f"{PATH}/{CONVERSATION}")
    response = client.post(IMPORT, json=exported)
    created = response.json()
    assert response.status_code == 201
    assert created == {"id": created["id"], "imported": 4, "skipped": 0}

    again = export(client, created["id"]).json()
    for archive in (exported, again):
        del archive["conversation"]["id"]
        for message in archive["messages"]:
            del message["id"]
    assert again == exported
    conversation = client.get(f"{PATH}/{created['id']}").json()
    assert conversation["message_count"] == 4
    assert conversation["total_tokens"] == 28
    assert conversation["last_message_at"] == exported["messages"][-1]["created_at"]


def test_a_repeated_import_adds_only_missing_messages(database, client):
    archive = make_archive([{}] * 3)
    first = client.post(IMPORT, json=archive)
    before = database.rows("select * from conversations") + database.rows(
        "select * from messages order by id"
    )
    again = client.post(IMPORT, json=archive)
    after = database.rows("select * from conversations") + database.rows("select * from messages order by id")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"id": first.json()["id"], "imported": 0, "skipped": 3}
    assert after == before

    database.rows("delete from messages where content = 'message 1'")
    more = client.post(IMPORT, json=make_archive([{}] * 5))
    assert more.status_code == 201
    assert more.json() == {"id": first.json()["id"], "imported": 3, "skipped": 2}
    page = client.get(f"{PATH}/{first.json()['id']}/messages").json()
    assert [message["content"] for message in page["messages"]] == [f"message {n}" for n in range(5)]
    assert page["total"] == 5


def test_the_import_of_another_users_file_creates_a_copy(database, url, client):
    store(database, MIXED, user_id=OTHER)
    before = database.rows("select * from messages order by id")
    with Client(url, OTHER) as other:
        exported = export(other).json()
        theirs = other.post(IMPORT, json=exported).json()
    mine = client.post(IMPORT, json=exported)
    assert (mine.status_code, mine.json()["imported"]) == (201, 4)
    assert len({mine.json()["id"], theirs["id"], str(CONVERSATION)}) == 3
    original = "select * from messages where conversation_id = %s order by id"
    assert database.rows(original, (CONVERSATION,)) == before
    assert len(database.rows(original, (UUID(mine.json()["id"]),))) == 4
    assert database.rows(
        "select distinct user_id from messages where conversation_id = %s", (UUID(mine.json()["id"]),)
    ) == [{"user_id": USER}]


def test_a_file_cannot_choose_the_ids_of_imported_rows(database, url, client):
    """A user who knows the ids of another user cannot write to their rows."""
    with Client(url, OTHER) as other:
        theirs = other.post(IMPORT, json=make_archive([{}] * 2)).json()["id"]
    assert theirs == str(uuid5(OTHER, str(CONVERSATION)))
    mine = client.post(IMPORT, json=make_archive([{}] * 2, id=theirs))
    assert mine.json() == {"id": str(uuid5(USER, theirs)), "imported": 2, "skipped": 0}


def test_parallel_imports_of_one_file_add_its_messages_once(database, url):
    archive = make_archive([{}] * 50)

    async def post_at_once():
        async with httpx.AsyncClient(
            headers=Client(url, USER).headers, timeout=30, trust_env=False
        ) as client:
            return await asyncio.gather(*(client.post(url + IMPORT, json=archive) for _ in range(8)))

    answers = [response.json() for response in asyncio.run(post_at_once())]
    assert sorted(answer["imported"] for answer in answers) == [0] * 7 + [50]
    [row] = database.rows("select message_count, total_tokens from conversations")
    assert row["message_count"] == 50
    [counted] = database.rows("select sum(token_count) as tokens from messages")
    assert row["total_tokens"] == counted["tokens"]


def test_imported_messages_get_a_final_status(database, client):
    statuses = ["streaming", "complete", "cancelled", "interrupted", "error"]
    client.post(IMPORT, json=make_archive([{"role": "assistant", "status": status} for status in statuses]))
    rows = database.rows("select status from messages order by created_at")
    assert [row["status"] for row in rows] == ["interrupted", *statuses[1:]]
    client.post(IMPORT, json=make_archive([{"role": "user", "status": "error"}], id=str(uuid4())))
    assert database.rows("select status from messages where role = 'user'") == [{"status": "complete"}]


def test_imported_messages_with_equal_times_keep_the_order_of_the_file(database, client):
    same = [{"created_at": BEGIN.isoformat(), "id": str(uuid4())} for _ in range(30)]
    created = client.post(IMPORT, json=make_archive(same)).json()
    page = client.get(f"{PATH}/{created['id']}/messages").json()
    assert [message["content"] for message in page["messages"]] == [f"message {n}" for n in range(30)]


def test_absent_fields_get_default_values(database, client):
    client.post(IMPORT, json=make_archive([{"content": "How do I sleep?"}]))
    [row] = database.rows("select * from conversations")
    assert (row["title"], row["model"], row["tags"]) == ("How do I sleep?", None, [])
    [row] = database.rows("select * from messages")
    assert (row["status"], row["token_count"], row["metadata"]) == ("complete", 4, {})


def test_a_large_file_is_imported(database, client):
    many = make_archive([{"content": f"message {n} " + "x" * 300} for n in range(10_000)])
    created = client.post(IMPORT, json=many)
    assert (created.status_code, created.json()["imported"]) == (201, 10_000)
    long = make_archive([{"content": "x" * 1_000_000}] * 4, id=str(uuid4()))
    assert client.post(IMPORT, json=long).json()["imported"] == 4
    assert client.post(IMPORT, json=make_archive([{"content": "x" * 1_000_000}] * 5)).status_code == 413


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("archive", "field"),
    [
        ({}, "format"),
        (make_archive() | {"format": "serverless-chat/2"}, "format"),
        (make_archive() | {"messages": None}, "messages"),
        (make_archive() | {"messages": [make_message(0)] * 10_001}, "messages"),
        (make_archive(id="1"), "conversation.id"),
        (make_archive(title=""), "conversation.title"),
        (make_archive(title="x" * 201), "conversation.title"),
        (make_archive(title="a\0b"), "title"),
        (make_archive(tags=["x"] * 21), "conversation.tags"),
        (make_archive(context_window=0), "conversation.context_window"),
        (make_archive(created_at="yesterday"), "conversation.created_at"),
        (make_archive(created_at="2026-01-01T00:00:00"), "conversation.created_at"),
        (make_archive(created_at="1969-12-31T23:59:59Z"), "conversation.created_at"),
        (make_archive(created_at="0001-01-01T00:00:00+23:59"), "conversation.created_at"),
        (make_archive(created_at="9999-12-31T23:59:59-23:59"), "conversation.created_at"),
        (make_archive([{"id": 7}]), "messages[0].id"),
        (make_archive([{"role": "system"}]), "messages[0].role"),
        (make_archive([{"content": None}]), "messages[0].content"),
        (make_archive([{"content": "x" * 1_000_001}]), "messages[0].content"),
        (make_archive([{"content": "a\0b"}]), "content"),
        (make_archive([{"status": "running"}]), "messages[0].status"),
        (make_archive([{"token_count": -1}]), "messages[0].token_count"),
        (make_archive([{"token_count": 2**63}]), "messages[0].token_count"),
        (make_archive([{"metadata": []}]), "messages[0].metadata"),
        (make_archive([{}, {"metadata": {"a": "x" * 8200}}]), "messages[1].metadata"),
        (make_archive([{"metadata": {"a": [["\0"]]}}]), "messages[0].metadata"),
        (make_archive([{}, {"id": str(UUID(int=0))}]), "messages[1].id"),
        (make_archive([{}, {"created_at": "2025-12-31T00:00:00Z"}]), "messages[1].created_at"),
        (make_archive([{"created_at": "2999-01-01T00:00:00Z"}]), "messages[0].created_at"),
    ],
)
def test_a_bad_file_is_400_with_the_field_and_stores_nothing(database, client, archive, field):
    response = client.post(IMPORT, json=archive)
    assert (response.status_code, response.json().get("field")) == (400, field), response.text
    assert database.rows("select 1 from conversations") == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": 10**300, "b": -(10**300), "c": 5e-324},
        {"a": nested(400)},
        {"a": [1] * 4000},
        {"": {"": ""}, "\x01": "\\u0000"},
    ],
    ids=["numbers", "nested", "many", "strange"],
)
def test_imported_metadata_is_unchanged(database, client, metadata):
    created = client.post(IMPORT, json=make_archive([{"metadata": metadata}]))
    assert created.status_code == 201, created.text
    assert export(client, created.json()["id"]).json()["messages"][0]["metadata"] == metadata


def test_an_import_counts_as_a_write(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="2/60")) as url, Client(url, USER) as client:
        first = client.post(IMPORT, json=make_archive([{}]))
        client.post(PATH, json={})
        refused = client.post(IMPORT, json=make_archive([{}] * 2, id=str(uuid4())))
    assert first.headers["ratelimit"] == '"write";r=1;t=60'
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) <= 60
    assert len(database.rows("select 1 from conversations")) == 2
    assert len(database.rows("select 1 from messages")) == 1


def test_deleting_a_conversation_during_its_import_makes_the_import_409(database, client):
    """The deletion happens between two batches of the import."""
    deleting = threading.Thread(target=delete_once_created, args=(database,))
    deleting.start()
    response = client.post(IMPORT, json=make_archive([{"content": "x" * 200}] * 10_000))
    deleting.join()
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert database.rows("select 1 from messages") == []


def delete_once_created(database):
    for _ in itertools.repeat(None, 10_000):
        if database.rows("delete from conversations returning id"):
            return
