"""Another user's id, an id of nothing and no id at all are told apart nowhere."""

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


def test_all_of_them_are_the_same_404(url, database):
    with Client(url, ALICE) as alice:
        turn = alice.post("/chat-stream", json={"message": "Hi"})
        conversation, answer = turn.headers["x-conversation-id"], turn.headers["x-message-id"]
    tables = ("conversations", "messages", "turns", "usage_logs")
    before = {table: database.rows(f"select * from {table}") for table in tables}

    places = {
        "get": lambda client, it: client.get(f"{CONVERSATIONS}/{it}"),
        "patch": lambda client, it: client.patch(f"{CONVERSATIONS}/{it}", json={"title": "Mine"}),
        "delete": lambda client, it: client.delete(f"{CONVERSATIONS}/{it}"),
        "delete by query": lambda client, it: client.delete(CONVERSATIONS, params={"id": it}),
        "messages": lambda client, it: client.get(f"{CONVERSATIONS}/{it}/messages"),
        "export": lambda client, it: client.get(f"{CONVERSATIONS}/{it}/export"),
        "say": lambda client, it: client.post(f"{CONVERSATIONS}/{it}/messages", json=MESSAGE),
        "cancel": lambda client, it: client.post(f"/api/chat/messages/{it}/cancel"),
    }
    with Client(url, BOB) as bob:
        for place, ask in places.items():
            theirs = answer if place == "cancel" else conversation
            asked = [theirs, uuid4(), "nonsense", "0", "%00", f"{{{theirs}}}", theirs.replace("-", "")]
            answers = {
                (response.status_code, response.content) for response in (ask(bob, it) for it in asked)
            }
            assert len(answers) == 1, place
            assert answers.pop()[0] == 404, place

    assert {table: database.rows(f"select * from {table}") for table in tables} == before
