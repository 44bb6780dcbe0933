"""Invalid requests are refused with a status and the name of the field, and store nothing."""

import json
from uuid import UUID, uuid4

import pytest

from tests.serving import Client, serve, settings

USER = uuid4()
CONVERSATION = UUID("00000000-0000-4000-8000-000000000001")
PATH = "/api/chat/conversations"
CONVERSATION_PATH = f"{PATH}/{CONVERSATION}"
JSON_HEADERS = {"content-type": "application/json"}
ROUTES_WITH_BODY = [
    ("POST", PATH),
    ("PATCH", CONVERSATION_PATH),
    ("POST", f"{CONVERSATION_PATH}/messages"),
    ("POST", f"{PATH}/claim"),
]


@pytest.fixture
def client(database):
    """A client whose user has one conversation. Checks at the end that the database did not change."""
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (CONVERSATION, USER))
    before = database.rows("select * from conversations")
    with serve(settings(database.url)) as url, Client(url, USER) as client:
        yield client
    assert database.rows("select * from conversations") == before
    assert database.rows("select 1 from messages") == []


def assert_refused(response, field):
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "invalid_request"
    assert response.json().get("field") == field


def body(**fields):
    return json.dumps(fields).encode()


def message(**fields):
    return body(**({"role": "user", "content": "Hi"} | fields))


NOT_JSON_OBJECTS = [
    b"",
    b"{",
    b"\xff",
    b'{"title": "\xff"}',
    b'{"title": "\\ud800"}',
    b'{"title": NaN}',
    b'{"context_window": Infinity}',
    b"[" * 50_000,
    b'{"a":' * 10_000,
    b"[]",
    b"null",
    b'"title"',
]


@pytest.mark.parametrize(("method", "path"), ROUTES_WITH_BODY)
def test_a_body_that_is_not_a_json_object_is_400(client, method, path):
    for content in NOT_JSON_OBJECTS:
        assert_refused(client.request(method, path, content=content, headers=JSON_HEADERS), None)


BAD_BODIES: dict[tuple[str, str], list[tuple[bytes, str | None]]] = {
    ("POST", PATH): [
        (body(title=1), "title"),
        (body(title=""), "title"),
        (body(title=" \n\t\u3000"), "title"),
        (body(title="x" * 201), "title"),
        (body(title="a\0b"), "title"),
        (b'{"title": "a", "title": "b"}', "title"),
        (body(model=["a"]), "model"),
        (body(context_window=0), "context_window"),
        (body(context_window=-1), "context_window"),
        (body(context_window=1.5), "context_window"),
        (body(context_window="8000"), "context_window"),
        (body(context_window=10**9), "context_window"),
        (body(context_window=10**400), "context_window"),
        (body(user_id="me"), "user_id"),
    ],
    ("PATCH", CONVERSATION_PATH): [
        (body(), None),
        (body(user_id="ignored"), None),
        (body(title=""), "title"),
        (body(tags="one"), "tags"),
        (body(tags=[str(n) for n in range(21)]), "tags"),
        (body(tags=["x" * 51]), "tags[0]"),
        (body(tags=[" "]), "tags[0]"),
        (body(tags=[None]), "tags[0]"),
        (body(tags=["a\0"]), "tags"),
    ],
    ("POST", f"{CONVERSATION_PATH}/messages"): [
        (body(role="user"), "content"),
        (body(content="Hi"), "role"),
        (message(role="system"), "role"),
        (message(role="tool"), "role"),
        (message(content=""), "content"),
        (message(content=" \n"), "content"),
        (message(content="x" * 32_001), "content"),
        (message(content="a\0b"), "content"),
        (message(content=["Hi"]), "content"),
        (message(status="complete"), "status"),
        (message(token_count=0), "token_count"),
        (message(cost="1"), "cost"),
        (message(cost_usd=1), "cost_usd"),
        (message(metadata=None), "metadata"),
        (message(metadata=["a"]), "metadata"),
        (message(metadata={"a": "x" * 8192}), "metadata"),
        (message(metadata={"a": [["\0"]]}), "metadata"),
        (message(metadata={"a": [["\\\0"]]}), "metadata"),
    ],
    ("POST", f"{PATH}/claim"): [
        (body(), "token"),
        (body(token=1), "token"),
        (body(token=""), "token"),
        (body(token="x" * 8193), "token"),
    ],
}


@pytest.mark.parametrize(("method", "path"), BAD_BODIES)
def test_a_bad_body_is_400_and_names_its_field(client, method, path):
    for content, field in BAD_BODIES[method, path]:
        assert_refused(client.request(method, path, content=content, headers=JSON_HEADERS), field)


BAD_PARAMETERS = [
    ("limit=0", "limit"),
    ("limit=-1", "limit"),
    ("limit=101", "limit"),
    ("limit=99999999999999999999999999", "limit"),
    ("limit=1e1", "limit"),
    ("limit=1_0", "limit"),
    ("limit=%D9%A1", "limit"),
    ("limit=", "limit"),
    ("limit=ten", "limit"),
    ("limit=%00", "limit"),
    ("limit=1&limit=2", "limit"),
    ("offset=-1", "offset"),
    ("offset=9999999999", "offset"),
    ("offset=1.0", "offset"),
    ("cursor=", "cursor"),
    ("cursor=nonsense", "cursor"),
    ("cursor=%FF", "cursor"),
    ("cursor=" + "A" * 31, "cursor"),
    ("cursor=" + "A" * 33, "cursor"),
    ("cursor=f" + "_" * 31, "cursor"),
    ("cursor=" + "A" * 32 + "&offset=0", "cursor"),
]


@pytest.mark.parametrize("path", [PATH, f"{CONVERSATION_PATH}/messages"])
def test_a_bad_parameter_is_400_and_is_named(client, path):
    for query, field in BAD_PARAMETERS:
        assert_refused(client.get(f"{path}?{query}"), field)


def test_an_unknown_order_is_400(client):
    assert_refused(client.get(f"{CONVERSATION_PATH}/messages?order=newest"), "order")


def test_a_deletion_without_an_id_is_400(client):
    assert_refused(client.delete(PATH), "id")


@pytest.mark.parametrize(("method", "path"), ROUTES_WITH_BODY)
def test_a_body_of_another_content_type_is_415_and_a_body_that_is_too_long_is_413(client, method, path):
    for headers in ({"content-type": "text/plain"}, {}):
        refused = client.request(method, path, content=b'{"title": "x"}', headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    refused = client.request(method, path, json={"more": "x" * 300_000})
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_a_message_of_another_user_is_403(client):
    content = message(user_id=str(uuid4()))
    refused = client.post(f"{CONVERSATION_PATH}/messages", content=content, headers=JSON_HEADERS)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_without_a_token_every_route_is_401(client):
    del client.headers["authorization"]
    routes = [
        *ROUTES_WITH_BODY,
        ("GET", PATH),
        ("DELETE", PATH),
        ("GET", CONVERSATION_PATH),
        ("DELETE", CONVERSATION_PATH),
        ("GET", f"{CONVERSATION_PATH}/messages"),
        ("POST", f"/api/chat/messages/{CONVERSATION}/cancel"),
        ("GET", "/api/chat/usage"),
        ("GET", "/api/chat/search?q=x"),
        ("GET", f"{CONVERSATION_PATH}/export"),
        ("POST", "/api/chat/import"),
    ]
    for method, path in routes:
        refused = client.request(method, path, json={})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
