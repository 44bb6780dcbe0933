"""Conversations over HTTP are created, listed with the newest activity first, changed and deleted."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.serving import Client, serve, settings

USER = uuid4()
PATH = "/api/chat/conversations"


@pytest.fixture
def url(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="999999/60")) as url:
        yield url


@pytest.fixture
def client(url):
    with Client(url, USER) as client:
        yield client


def create(client, **fields):
    response = client.post(PATH, json=fields)
    assert response.status_code == 201, response.text
    return response.json()


def ids(page):
    return [conversation["id"] for conversation in page["conversations"]]


def list_all(client, after_page=lambda: None, **params):
    """The ids on all pages, read by cursor. Calls `after_page` after each page except the last."""
    found, cursor = [], None
    for _ in range(50):
        page = client.get(PATH, params=params | ({"cursor": cursor} if cursor else {})).json()
        found += ids(page)
        cursor = page["next_cursor"]
        if cursor is None:
            return found
        after_page()
    raise AssertionError("the list has no end")


def test_a_new_conversation_has_the_given_fields(client):
    created = create(client, title="Sleep", model="anthropic/claude", context_window=8000, user_id=str(USER))
    assert UUID(created["id"])
    assert datetime.fromisoformat(created["created_at"]).utcoffset() == timedelta()
    assert created == {
        "id": created["id"],
        "user_id": str(USER),
        "title": "Sleep",
        "model": "anthropic/claude",
        "tags": [],
        "context_window": 8000,
        "total_tokens": 0,
        "message_count": 0,
        "last_message_at": None,
        "created_at": created["created_at"],
        "updated_at": created["created_at"],
    }
    assert client.get(f"{PATH}/{created['id']}").json() == created
    assert client.get(PATH).json() == {"conversations": [created], "total": 1, "next_cursor": None}


def test_all_fields_of_a_new_conversation_are_optional(client):
    assert create(client)["title"] is None


def test_another_users_id_is_forbidden_in_the_body_and_in_the_query(client, database):
    other = str(uuid4())
    refused = [
        client.post(PATH, json={"user_id": other}),
        client.get(PATH, params={"user_id": other}),
        client.delete(PATH, params={"user_id": other, "id": str(uuid4())}),
        client.get("/api/chat/usage", params={"user_id": "nonsense"}),
    ]
    assert {(response.status_code, response.json()["code"]) for response in refused} == {(403, "forbidden")}
    assert database.rows("select 1 from conversations") == []
    assert client.get(PATH, params={"user_id": str(USER).upper()}).status_code == 200


def test_the_conversation_with_the_newest_activity_is_first(client):
    first, second, third = (create(client)["id"] for _ in range(3))
    client.post(f"{PATH}/{first}/messages", json={"role": "user", "content": "Hi"})
    assert ids(client.get(PATH).json()) == [first, third, second]


def test_a_page_has_50_conversations_by_default(client, database):
    database.rows(
        "insert into conversations (id, user_id) select gen_random_uuid(), %s from generate_series(1, 120)",
        (USER,),
    )
    page = client.get(PATH).json()
    assert (len(page["conversations"]), page["total"]) == (50, 120)
    assert len(client.get(PATH, params={"limit": 100}).json()["conversations"]) == 100
    last = client.get(PATH, params={"limit": 100, "offset": 100}).json()
    assert (len(last["conversations"]), last["total"], last["next_cursor"]) == (20, 120, None)
    beyond = client.get(PATH, params={"offset": 1_000_000_000}).json()
    assert beyond == {"conversations": [], "total": 120, "next_cursor": None}


@pytest.mark.parametrize("limit", [1, 3, 7, 20, 100])
def test_paging_by_cursor_returns_each_row_once_even_with_equal_times(client, database, limit):
    database.rows(
        "insert into conversations (id, user_id, created_at)"
        " select gen_random_uuid(), %s, '2026-01-01'::timestamptz + make_interval(secs => n / 7)"
        " from generate_series(1, 20) as n",
        (USER,),
    )
    stored = database.rows("select id from conversations order by created_at desc, id desc")
    assert list_all(client, limit=limit) == [str(row["id"]) for row in stored]


def test_rows_inserted_during_paging_do_not_repeat_or_hide_rows(client):
    before = [create(client)["id"] for _ in range(7)][::-1]
    assert list_all(client, limit=2, after_page=lambda: create(client)) == before


def test_paging_can_continue_by_cursor_after_an_offset(client):
    created = [create(client)["id"] for _ in range(5)][::-1]
    page = client.get(PATH, params={"limit": 2, "offset": 1}).json()
    assert ids(page) == created[1:3]
    assert ids(client.get(PATH, params={"cursor": page["next_cursor"]}).json()) == created[3:]


def test_a_patch_keeps_absent_fields_and_clears_null_fields(client):
    created = create(client, title="Sleep", model="a/b")
    path = f"{PATH}/{created['id']}"
    assert client.patch(path, json={"tags": ["one", "two", "one"]}).json()["tags"] == ["one", "two"]
    changed = client.patch(path, json={"title": "Wake", "model": None}).json()
    assert (changed["title"], changed["model"], changed["tags"]) == ("Wake", None, ["one", "two"])
    assert changed["updated_at"] > created["updated_at"]
    cleared = client.patch(path, json={"title": None, "tags": None}).json()
    assert (cleared["title"], cleared["tags"]) == (None, [])
    assert client.get(path).json() == cleared


def test_a_question_sets_a_cleared_title_and_keeps_a_given_one(client):
    given, cleared = create(client, title="Mine"), create(client, title="Mine")
    client.patch(f"{PATH}/{cleared['id']}", json={"title": None})
    for conversation in (given, cleared):
        for content in ("# My *first*   question", "My second"):
            message = {"role": "user", "content": content}
            client.post(f"{PATH}/{conversation['id']}/messages", json=message)
    assert client.get(f"{PATH}/{given['id']}").json()["title"] == "Mine"
    assert client.get(f"{PATH}/{cleared['id']}").json()["title"] == "My first question"


@pytest.mark.parametrize("way", ["path", "query"])
def test_deleting_a_conversation_removes_its_messages_and_keeps_its_usage(client, database, way):
    with_turn = client.post("/chat-stream", json={"message": "Hi"}).headers["x-conversation-id"]
    other = create(client)["id"]
    deleted = (
        client.delete(f"{PATH}/{with_turn}")
        if way == "path"
        else client.delete(PATH, params={"id": with_turn})
    )
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert database.rows("select 1 from messages") == []
    assert len(database.rows("select 1 from usage_logs where conversation_id = %s", (with_turn,))) == 1
    assert client.get("/api/chat/usage").json()["totals"]["turns"] == 1
    assert ids(client.get(PATH).json()) == [other]
    assert client.get(f"{PATH}/{with_turn}").status_code == 404
    assert client.delete(f"{PATH}/{with_turn}").status_code == 404


def test_an_unknown_method_is_405(client):
    for path, method in ((PATH, "PUT"), (f"{PATH}/{uuid4()}", "POST"), (f"{PATH}/claim", "PUT")):
        response = client.request(method, path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert client.get(PATH + "/").status_code == 404
