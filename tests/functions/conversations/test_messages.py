"""Messages over HTTP: added, counted, paged both ways; and turns stopped by their message."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from tests.functions.conversations.locks import conversations_locked
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


@pytest.fixture
def here(client):
    return f"{PATH}/{client.post(PATH, json={}).json()['id']}"


def say(client, here, content, **said):
    return client.post(f"{here}/messages", json={"role": "user", "content": content, **said})


def contents(page):
    return [message["content"] for message in page["messages"]]


def test_a_message_is_stored_as_it_was_said(client, here):
    response = say(client, here, "Grüße", metadata={"from": ["voice", 1, None]}, user_id=str(USER))
    assert response.status_code == 201
    message = response.json()
    assert UUID(message["id"])
    assert message == {
        "id": message["id"],
        "role": "user",
        "content": "Grüße",
        "status": "complete",
        "token_count": 2,
        "metadata": {"from": ["voice", 1, None]},
        "created_at": message["created_at"],
    }
    answer = say(client, here, "Well.", role="assistant").json()
    page = client.get(f"{here}/messages").json()
    assert page == {"messages": [message, answer], "total": 2, "next_cursor": None}
    conversation = client.get(here).json()
    assert (conversation["message_count"], conversation["total_tokens"]) == (2, 4)
    assert conversation["last_message_at"] == answer["created_at"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": [1] * 4000},
        {"n": 10**300, "tiny": 5e-324},
        {"text": "\\u0000 is how one writes NUL"},
        {"": {"": []}},
        {"deep": [[[[[["x"]]]]]]},
        {"long": "x" * 8179},
    ],
    ids=["numbers", "huge", "escaped", "nameless", "deep", "long"],
)
def test_metadata_comes_back_as_it_was(client, here, metadata):
    made = say(client, here, "x", metadata=metadata)
    assert made.status_code == 201, made.text
    assert made.json()["metadata"] == metadata
    assert client.get(f"{here}/messages").json()["messages"][0]["metadata"] == metadata


def test_a_message_may_have_32000_characters_of_any_kind(client, here):
    assert say(client, here, "😀" * 32_000).status_code == 201
    assert say(client, here, "語" * 32_000).json()["token_count"] == 24_000


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_cursors_go_both_ways_and_meet_every_message_once(client, here, database, order, limit):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, created_at)"
        " select gen_random_uuid(), %s, %s, 'user', n::text,"
        "     '2026-01-01'::timestamptz + make_interval(secs => n / 4)"
        " from generate_series(1, 10) as n",
        (UUID(here.rpartition("/")[2]), USER),
    )
    stored = database.rows(f"select content from messages order by created_at {order}, id {order}")
    found, cursor = [], None
    for _ in range(10 // limit + 1):
        params = {"limit": limit, "order": order} | ({"cursor": cursor} if cursor else {})
        page = client.get(f"{here}/messages", params=params).json()
        assert page["total"] == 10
        found += contents(page)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [row["content"] for row in stored]


def test_a_list_is_100_long_and_can_begin_at_an_offset(client, here, database):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, created_at)"
        " select gen_random_uuid(), %s, %s, 'user', n::text,"
        "     '2026-01-01'::timestamptz + make_interval(secs => n)"
        " from generate_series(1, 130) as n",
        (UUID(here.rpartition("/")[2]), USER),
    )
    page = client.get(f"{here}/messages").json()
    assert (len(page["messages"]), page["total"]) == (100, 130)
    page = client.get(f"{here}/messages", params={"offset": 128}).json()
    assert (contents(page), page["next_cursor"]) == (["129", "130"], None)
    beyond = client.get(f"{here}/messages", params={"offset": 200}).json()
    assert beyond == {"messages": [], "total": 130, "next_cursor": None}


def test_a_page_of_long_messages_ends_before_lambda_would_cut_it_and_goes_on_by_its_cursor(
    client, here, database
):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content)"
        " select gen_random_uuid(), %s, %s, 'assistant', repeat(chr(1), 200000) from generate_series(1, 9)",
        (UUID(here.rpartition("/")[2]), USER),
    )
    sizes, cursor = [], None
    for _ in range(3):
        response = client.get(f"{here}/messages", params={"cursor": cursor} if cursor else {})
        assert len(response.content) < 6_000_000
        sizes.append(len(response.json()["messages"]))
        cursor = response.json()["next_cursor"]
    assert (sizes, cursor) == ([3, 3, 3], None)


def test_50_messages_at_once_are_counted_exactly_and_collide_with_nothing(url, client, here):
    with ThreadPoolExecutor(10) as pool, Client(url, USER) as other:
        answers = list(pool.map(lambda n: say(other, here, f"message {n}"), range(50)))
    assert {answer.status_code for answer in answers} == {201}
    conversation = client.get(here).json()
    page = client.get(f"{here}/messages").json()
    assert (conversation["message_count"], page["total"], len(page["messages"])) == (50, 50, 50)
    assert conversation["total_tokens"] == sum(message["token_count"] for message in page["messages"])
    assert conversation["last_message_at"] == page["messages"][-1]["created_at"]


def test_a_message_that_waited_for_others_stands_after_them(server, database, client, here):
    """So whoever has read up to a place misses nothing behind it."""
    with ThreadPoolExecutor(1) as pool:
        with conversations_locked(server.url("postgres", database.name)) as waiting:
            written = pool.submit(say, client, here, "Hi")
            now = waiting(1)
        said_at = datetime.fromisoformat(written.result().json()["created_at"])
    assert said_at > datetime.fromisoformat(now)


@pytest.fixture
def running(database, mock):
    """A client whose turn does not end by itself, and the id of the answer."""
    configured = settings(
        database.url,
        LLM_MODEL="openai/mock:tokens=10000,gap=50ms",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with (
        serve(configured) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        yield client, response, response.headers["x-message-id"]


def test_a_running_turn_is_stopped_and_stopping_it_again_does_no_harm(running):
    client, response, message_id = running
    cancelled = client.post(f"/api/chat/messages/{message_id}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (202, {"id": message_id, "status": "cancelling"})
    assert b"data:" in b"".join(response.iter_raw())
    for _ in range(2):
        again = client.post(f"/api/chat/messages/{message_id}/cancel")
        assert (again.status_code, again.json()) == (200, {"id": message_id, "status": "cancelled"})


def test_a_turn_of_another_user_cannot_be_stopped(running):
    client, _, message_id = running
    with Client(str(client.base_url), uuid4()) as stranger:
        refused = stranger.post(f"/api/chat/messages/{message_id}/cancel")
        unknown = stranger.post(f"/api/chat/messages/{uuid4()}/cancel")
    assert (refused.status_code, refused.content) == (404, unknown.content)
    client.post(f"/api/chat/messages/{message_id}/cancel")


def test_a_message_that_no_turn_wrote_has_nothing_to_stop(client, here):
    message = say(client, here, "Hi").json()
    assert client.post(f"/api/chat/messages/{message['id']}/cancel").status_code == 404
