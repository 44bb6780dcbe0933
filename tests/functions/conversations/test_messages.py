"""Messages over HTTP are added, counted and paged in both directions; running turns are cancelled."""

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
def path(client):
    """The path of a new conversation."""
    return f"{PATH}/{client.post(PATH, json={}).json()['id']}"


def add_message(client, path, content, **fields):
    return client.post(f"{path}/messages", json={"role": "user", "content": content, **fields})


def contents(page):
    return [message["content"] for message in page["messages"]]


def test_a_message_is_stored_with_its_fields(client, path):
    response = add_message(client, path, "Grüße", metadata={"from": ["voice", 1, None]}, user_id=str(USER))
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
    answer = add_message(client, path, "Well.", role="assistant").json()
    page = client.get(f"{path}/messages").json()
    assert page == {"messages": [message, answer], "total": 2, "next_cursor": None}
    conversation = client.get(path).json()
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
def test_metadata_is_returned_unchanged(client, path, metadata):
    created = add_message(client, path, "x", metadata=metadata)
    assert created.status_code == 201, created.text
    assert created.json()["metadata"] == metadata
    assert client.get(f"{path}/messages").json()["messages"][0]["metadata"] == metadata


def test_a_message_may_have_32000_characters(client, path):
    assert add_message(client, path, "😀" * 32_000).status_code == 201
    assert add_message(client, path, "語" * 32_000).json()["token_count"] == 24_000


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_paging_by_cursor_returns_each_message_once_in_both_orders(client, path, database, order, limit):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, created_at)"
        " select gen_random_uuid(), %s, %s, 'user', n::text,"
        "     '2026-01-01'::timestamptz + make_interval(secs => n / 4)"
        " from generate_series(1, 10) as n",
        (UUID(path.rpartition("/")[2]), USER),
    )
    stored = database.rows(f"select content from messages order by created_at {order}, id {order}")
    found, cursor = [], None
    for _ in range(10 // limit + 1):
        params = {"limit": limit, "order": order} | ({"cursor": cursor} if cursor else {})
        page = client.get(f"{path}/messages", params=params).json()
        assert page["total"] == 10
        found += contents(page)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [row["content"] for row in stored]


def test_a_page_has_100_messages_and_can_start_at_an_offset(client, path, database):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, created_at)"
        " select gen_random_uuid(), %s, %s, 'user', n::text,"
        "     '2026-01-01'::timestamptz + make_interval(secs => n)"
        " from generate_series(1, 130) as n",
        (UUID(path.rpartition("/")[2]), USER),
    )
    page = client.get(f"{path}/messages").json()
    assert (len(page["messages"]), page["total"]) == (100, 130)
    page = client.get(f"{path}/messages", params={"offset": 128}).json()
    assert (contents(page), page["next_cursor"]) == (["129", "130"], None)
    beyond = client.get(f"{path}/messages", params={"offset": 200}).json()
    assert beyond == {"messages": [], "total": 130, "next_cursor": None}


def test_a_page_stays_below_the_response_limit_of_lambda(client, path, database):
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content)"
        " select gen_random_uuid(), %s, %s, 'assistant', repeat(chr(1), 200000) from generate_series(1, 9)",
        (UUID(path.rpartition("/")[2]), USER),
    )
    sizes, cursor = [], None
    for _ in range(3):
        response = client.get(f"{path}/messages", params={"cursor": cursor} if cursor else {})
        assert len(response.content) < 6_000_000
        sizes.append(len(response.json()["messages"]))
        cursor = response.json()["next_cursor"]
    assert (sizes, cursor) == ([3, 3, 3], None)


def test_50_parallel_messages_are_counted_exactly(url, client, path):
    with ThreadPoolExecutor(10) as pool, Client(url, USER) as other:
        answers = list(pool.map(lambda n: add_message(other, path, f"message {n}"), range(50)))
    assert {answer.status_code for answer in answers} == {201}
    conversation = client.get(path).json()
    page = client.get(f"{path}/messages").json()
    assert (conversation["message_count"], page["total"], len(page["messages"])) == (50, 50, 50)
    assert conversation["total_tokens"] == sum(message["token_count"] for message in page["messages"])
    assert conversation["last_message_at"] == page["messages"][-1]["created_at"]


def test_a_message_that_waited_for_a_lock_has_a_later_time(server, database, client, path):
    """So a client that pages by time misses no message."""
    with ThreadPoolExecutor(1) as pool:
        with conversations_locked(server.url("postgres", database.name)) as wait_for_waiters:
            written = pool.submit(add_message, client, path, "Hi")
            now = wait_for_waiters(1)
        created_at = datetime.fromisoformat(written.result().json()["created_at"])
    assert created_at > datetime.fromisoformat(now)


@pytest.fixture
def running_turn(database, mock):
    """A client, the response of its running turn, and the id of the answer. The turn ends only when it is
    cancelled."""
    config = settings(
        database.url,
        LLM_MODEL="openai/mock:tokens=10000,gap=50ms",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with (
        serve(config) as url,
        Client(url, USER) as client,
        client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response,
    ):
        yield client, response, response.headers["x-message-id"]


def test_a_cancel_ends_a_running_turn_and_can_be_repeated(running_turn):
    client, response, message_id = running_turn
    cancelled = client.post(f"/api/chat/messages/{message_id}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (202, {"id": message_id, "status": "cancelling"})
    assert b"data:" in b"".join(response.iter_raw())
    for _ in range(2):
        again = client.post(f"/api/chat/messages/{message_id}/cancel")
        assert (again.status_code, again.json()) == (200, {"id": message_id, "status": "cancelled"})


def test_a_turn_of_another_user_cannot_be_cancelled(running_turn):
    client, _, message_id = running_turn
    with Client(str(client.base_url), uuid4()) as stranger:
        refused = stranger.post(f"/api/chat/messages/{message_id}/cancel")
        unknown = stranger.post(f"/api/chat/messages/{uuid4()}/cancel")
    assert (refused.status_code, refused.content) == (404, unknown.content)
    client.post(f"/api/chat/messages/{message_id}/cancel")


def test_a_cancel_of_a_message_without_a_turn_is_404(client, path):
    message = add_message(client, path, "Hi").json()
    assert client.post(f"/api/chat/messages/{message['id']}/cancel").status_code == 404
