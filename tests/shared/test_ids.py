"""Paths, queries and bodies of all endpoints accept only the canonical form of a UUID."""

from uuid import UUID

import msgspec
import pytest

from shared.ids import RequestId, decode_hook, parse_uuid
from tests.serving import Client, serve, settings

USER = UUID("00000000-0000-4000-8000-00000000000a")
ID = UUID("0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11")
ACCEPTED = ["0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11", "0B5C1A3E-8A0F-4E55-9A3C-6C1F6F0D9A11"]
REFUSED = [
    "{0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11}",
    "urn:uuid:0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
    "0b5c1a3e8a0f4e559a3c6c1f6f0d9a11",
    "0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11\n",
    " 0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
    "\u0660b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
    "\uff10b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a11",
    "0b5c1a3e-8a0f-4e55-9a3c-6c1f6f0d9a1",
    "0b5c1a3e8-a0f-4e55-9a3c-6c1f6f0d9a11",
    "",
]
CONVERSATION = f"/api/chat/conversations/{ID}"


class Body(msgspec.Struct):
    id: RequestId | None = None


def decode(value):
    return msgspec.json.decode(msgspec.json.encode({"id": value}), type=Body, dec_hook=decode_hook).id


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_canonical_form_is_accepted_in_upper_and_lower_case(text):
    assert parse_uuid(text) == ID
    assert decode(text) == ID


@pytest.mark.parametrize("text", REFUSED)
def test_other_forms_are_refused(text):
    assert parse_uuid(text) is None
    with pytest.raises(msgspec.ValidationError, match=r"Invalid UUID - at `\$\.id`"):
        decode(text)


def test_a_value_that_is_not_a_string_is_refused():
    assert decode(None) is None
    values: list[object] = [5, 0.5, True, [], {}]
    for value in values:
        with pytest.raises(msgspec.ValidationError):
            decode(value)


def archive(conversation_id, message_id):
    message = {"id": message_id, "role": "user", "content": "Hi", "created_at": "2026-01-01T12:00:00Z"}
    return {
        "format": "serverless-chat/1",
        "conversation": {"id": conversation_id, "created_at": "2026-01-01T12:00:00Z"},
        "messages": [message],
    }


# Every path with an id. For every body: the field, and the statuses for a well-formed id.
PATHS = {
    "get a conversation": lambda client, text: client.get(f"/api/chat/conversations/{text}"),
    "change a conversation": lambda client, text: client.patch(
        f"/api/chat/conversations/{text}", json={"title": "Sleep"}
    ),
    "list messages": lambda client, text: client.get(f"/api/chat/conversations/{text}/messages"),
    "export": lambda client, text: client.get(f"/api/chat/conversations/{text}/export"),
    "cancel": lambda client, text: client.post(f"/api/chat/messages/{text}/cancel"),
    "resume": lambda client, text: client.get(f"/api/chat/messages/{text}/stream"),
    "add a message": lambda client, text: client.post(
        f"/api/chat/conversations/{text}/messages", json={"role": "user", "content": "Hi"}
    ),
}
BODIES = {
    "/chat-stream": ("conversationId", {200}, lambda text: {"message": "Hi", "conversationId": text}),
    "/api/chat": (
        "conversation_id",
        {200},
        lambda text: {"messages": [{"role": "user", "content": "Hi"}], "conversation_id": text},
    ),
    # An id of another user is well-formed but forbidden.
    "/api/chat/conversations": ("user_id", {403}, lambda text: {"user_id": text}),
    f"{CONVERSATION}/messages": (
        "user_id",
        {403},
        lambda text: {"role": "user", "content": "Hi", "user_id": text},
    ),
    "/api/chat/import": ("conversation.id", {200, 201}, lambda text: archive(text, str(ID))),
    f"/api/chat/import?user_id={USER}": ("messages[0].id", {200, 201}, lambda text: archive(str(ID), text)),
}


@pytest.fixture
def client(database):
    """A user with a conversation and a complete answer, both with the id ID."""
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (ID, USER))
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content)"
        " values (%s, %s, %s, 'assistant', 'Hello')",
        (ID, ID, USER),
    )
    database.rows(
        "insert into turns (id, user_id, attempt_id, conversation_id, status, lease_expires_at, model,"
        " prompt_tokens, usd_per_input, usd_per_output, priced, settled_at)"
        " values (%s, %s, %s, %s, 'complete', now(), 'scripted/echo', 1, 0, 0, true, now())",
        (ID, USER, ID, ID),
    )
    limits = {"RATE_LIMIT_WRITE": "999999/60", "RATE_LIMIT_CHAT": "999999/60"}
    with serve(settings(database.url, **limits)) as url, Client(url, USER) as client:
        yield client


def test_paths_accept_only_the_canonical_form(client):
    for name, request in PATHS.items():
        for text in ACCEPTED:
            assert request(client, text).status_code != 404, (name, text)
        for text in filter(None, REFUSED):
            # Clients encode a newline in a path as %0A.
            response = request(client, text.replace("\n", "%0A").replace("{", "%7B"))
            assert response.status_code == 404, (name, text)


def test_queries_accept_only_the_canonical_form(client):
    for text in REFUSED:
        response = client.delete("/api/chat/conversations", params={"id": text})
        assert response.status_code == 404, text
    assert client.delete("/api/chat/conversations", params={"id": ACCEPTED[1]}).status_code == 204


def test_bodies_accept_only_the_canonical_form(client):
    for path, (field, statuses, body) in BODIES.items():
        for text in ACCEPTED:
            assert client.post(path, json=body(text)).status_code in statuses, (path, text)
        for text in REFUSED:
            response = client.post(path, json=body(text))
            assert (response.status_code, response.json().get("field")) == (400, field), (path, text)


def test_a_conversation_name_is_read_as_an_id_only_in_the_canonical_form(client, database):
    """In formats with conversation names, a name that is an id selects the conversation with this id."""

    def conversation_of(name):
        body = {"messages": [{"role": "user", "content": "Hi"}], "model": "scripted/echo", "chatId": name}
        return client.post("/api/stream", json=body).headers["x-conversation-id"]

    assert {conversation_of(text) for text in ACCEPTED} == {str(ID)}
    assert str(ID) not in {conversation_of(text) for text in filter(None, REFUSED)}
