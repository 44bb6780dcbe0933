"""Requests that are refused before the model call get a status and a stable code and store nothing."""

import base64
import json
import socket
import time
from uuid import uuid4

import jwt
import pytest

from tests.serving import SECRET, Client, serve, settings

USER = uuid4()
SIGN_IN_MESSAGE = "I had trouble remembering you. Please sign in again."
TRY_AGAIN_MESSAGE = "Coach is taking a moment. Let's try again."


@pytest.fixture
def url(database, mock):
    config = settings(
        database.url,
        LLM_MODEL="openai/mock:tokens=1",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with serve(config) as url:
        yield url


@pytest.fixture
def nothing_stored(database, mock):
    mock.reset()
    yield
    assert mock.stats()["hits"] == 0
    for table in ("conversations", "messages", "turns", "usage_logs"):
        assert database.rows(f"select * from {table}") == []


def signed(claims, secret=SECRET, algorithm="HS256"):
    return jwt.encode(claims, secret, algorithm=algorithm)


def unsigned(claims):
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none", "typ": "JWT"}, claims)
    )
    return f"{head}.{body}."


VALID = {"sub": str(USER), "exp": 4_000_000_000}


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer two tokens",
        "Basic dXNlcjpwYXNz",
        "Bearer not.a.token",
        "Bearer " + signed(VALID | {"exp": time.time() - 10}),
        "Bearer " + signed(VALID, secret="another secret, also long enough for it"),
        "Bearer " + signed({"sub": str(USER)}),
        "Bearer " + signed({"exp": 4_000_000_000}),
        "Bearer " + unsigned(VALID),
    ],
    ids=[
        "missing",
        "empty",
        "bare",
        "two",
        "basic",
        "garbage",
        "expired",
        "forged",
        "no-exp",
        "no-sub",
        "none",
    ],
)
def test_a_bad_token_is_401_with_the_sign_in_message(url, nothing_stored, authorization):
    headers = {"authorization": authorization} if authorization is not None else {}
    with Client(url) as client:
        response = client.post("/chat-stream", json={"message": "Hi"}, headers=headers)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.json()["userMessage"] == SIGN_IN_MESSAGE
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'"message"', None),
        (b"\xff\xfe", None),
        (b'{"message": "\xff"}', None),
        (b'{"message": "\\ud800"}', None),
        (b'{"message": NaN}', None),
        (b"[" * 60_000, None),
        (b"{}", "message"),
        (b'{"message": null}', "message"),
        (b'{"message": 7}', "message"),
        (b'{"message": ""}', "message"),
        (b'{"message": " \\n\\t "}', "message"),
        (b'{"message": "a", "message": "b"}', "message"),
        (b'{"message": "a\\u0000b"}', "message"),
        (json.dumps({"message": "x" * 32_001}).encode(), "message"),
        (b'{"message": "Hi", "conversationId": "1"}', "conversationId"),
        (b'{"message": "Hi", "conversationId": 1}', "conversationId"),
        (b'{"message": "Hi", "temperature": 2.1}', "temperature"),
        (b'{"message": "Hi", "temperature": "0.5"}', "temperature"),
        (b'{"message": "Hi", "maxTokens": 0}', "maxTokens"),
        (b'{"message": "Hi", "maxTokens": 1.5}', "maxTokens"),
        (b'{"message": "Hi", "maxTokens": 99999999999999999999999999}', "maxTokens"),
        (b'{"message": "Hi", "model": "openai/somebody-elses"}', "model"),
    ],
)
def test_a_bad_body_is_400_and_names_its_field(url, nothing_stored, body, field):
    with Client(url, USER) as client:
        response = client.post("/chat-stream", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "invalid_request"
    assert response.json().get("field") == field
    assert response.json()["userMessage"] == TRY_AGAIN_MESSAGE


def test_a_message_of_32000_characters_is_accepted(url):
    with Client(url, USER) as client:
        assert client.post("/chat-stream", json={"message": "語" * 15_000}).status_code == 200
        assert client.post("/chat-stream", json={"message": "x" * 32_000}).status_code == 200


def test_a_body_over_64_kilobytes_is_413(url, nothing_stored):
    with Client(url, USER) as client:
        response = client.post("/chat-stream", json={"message": "x", "more": "x" * 65_536})
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_body_that_is_not_declared_as_json_is_415(url, nothing_stored):
    with Client(url, USER) as client:
        response = client.post(
            "/chat-stream", content=b'{"message": "Hi"}', headers={"content-type": "text/plain"}
        )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_an_unknown_conversation_and_one_of_another_user_get_the_same_404(url, database, mock):
    with Client(url, uuid4()) as other:
        theirs = other.post("/chat-stream", json={"message": "Hi"}).headers["x-conversation-id"]
    mock.reset()
    before = database.rows("select * from messages")
    with Client(url, USER) as client:
        answers = [
            client.post("/chat-stream", json={"message": "Hi", "conversationId": other_id})
            for other_id in (theirs, str(uuid4()))
        ]
        answers.append(client.get(f"/api/chat/conversations/{theirs}/messages"))
        answers.append(client.get(f"/api/chat/conversations/{uuid4()}/messages"))
        answers.append(client.get("/api/chat/conversations/nonsense/messages"))
    assert {response.status_code for response in answers} == {404}
    assert len({response.text for response in answers}) == 1
    assert mock.stats()["hits"] == 0
    assert database.rows("select * from messages") == before


def test_a_conversation_for_another_user_is_403(url, nothing_stored):
    with Client(url, USER) as client:
        response = client.post("/api/chat/conversations", json={"user_id": str(uuid4())})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_unknown_routes_and_methods_have_the_same_error_format(url):
    with Client(url, USER) as client:
        assert client.get("/nowhere").json()["code"] == "not_found"
        response = client.get("/chat-stream")
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_health_needs_no_token(url):
    with Client(url) as client:
        assert client.get("/health").json() == {"status": "ok"}


def test_a_preflight_is_answered_without_a_token(database):
    origin = "https://chat.example.com"
    with serve(settings(database.url, CORS_ALLOW_ORIGINS=origin)) as url, Client(url) as client:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        preflight = client.options("/chat-stream", headers=headers)
        refused = client.post("/chat-stream", headers={"origin": origin})
        foreign = client.post("/chat-stream", headers={"origin": "https://chat.example.com.evil.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.wall_clock
@pytest.mark.parametrize("fault", ["refused", "silent"])
def test_an_unreachable_database_is_503_within_3_seconds_without_a_model_call(mock, fault, tmp_path):
    mock.reset()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if fault == "refused":
        listener.close()
    config = settings(
        f"postgresql://chat_app@127.0.0.1:{port}/chat",
        LLM_MODEL="openai/mock",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with serve(config) as url, Client(url, USER) as client:
        started_at = time.monotonic()
        response = client.post("/chat-stream", json={"message": "Hi"})
        seconds = time.monotonic() - started_at
    listener.close()
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.json()["userMessage"] == TRY_AGAIN_MESSAGE
    assert seconds < 3
    assert mock.stats()["hits"] == 0
