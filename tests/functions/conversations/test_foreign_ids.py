"""An id of another user, an unknown id and an invalid id get the same response."""

from uuid import uuid4

import pytest

from tests.serving import Client, serve, settings

ALICE, BOB = uuid4(), uuid4()
CONVERSATIONS = "/api/chat/conversations"
MESSAGE = {"role": "user", "content": "Hi"}


@pytest.fixture
def url(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="999999/60", RATE_LIMIT_CHAT="999999/60")) as url:
        yield url


def test_every_route_answers_them_with_the_same_404(url, database):
    with Client(url, ALICE) as alice:
        turn = alice.post("/chat-stream", json={"message": "Hi"})
        conversation, answer = turn.headers["x-conversation-id"], turn.headers["x-message-id"]
    tables = ("conversations", "messages", "turns", "usage_logs")
    before = {table: database.rows(f"select * from {table}") for table in tables}

    requests = {
        "get": lambda client, id_: client.get(f"{CONVERSATIONS}/{id_}"),
        "patch": lambda client, id_: client.patch(f"{CONVERSATIONS}/{id_}", json={"title": "Mine"}),
        "delete": lambda client, id_: client.delete(f"{CONVERSATIONS}/{id_}"),
        "delete by query": lambda client, id_: client.delete(CONVERSATIONS, params={"id": id_}),
        "messages": lambda client, id_: client.get(f"{CONVERSATIONS}/{id_}/messages"),
        "export": lambda client, id_: client.get(f"{CONVERSATIONS}/{id_}/export"),
        "add message": lambda client, id_: client.post(f"{CONVERSATIONS}/{id_}/messages", json=MESSAGE),
        "cancel": lambda client, id_: client.post(f"/api/chat/messages/{id_}/cancel"),
    }
    with Client(url, BOB) as bob:
        for name, send in requests.items():
            foreign_id = answer if name == "cancel" else conversation
            ids = [
                foreign_id,
                uuid4(),
                "nonsense",
                "0",
                "%00",
                f"{{{foreign_id}}}",
                foreign_id.replace("-", ""),
            ]
            responses = {
                (response.status_code, response.content) for response in (send(bob, each) for each in ids)
            }
            assert len(responses) == 1, name
            assert responses.pop()[0] == 404, name

    assert {table: database.rows(f"select * from {table}") for table in tables} == before
