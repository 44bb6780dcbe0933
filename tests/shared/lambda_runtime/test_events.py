import base64
import json
from pathlib import Path

import pytest
from mangum.handlers.api_gateway import APIGateway, HTTPGateway

from dev.lambda_events import HttpRequest, function_url_event, rest_api_event
from shared.lambda_runtime.events import UnsupportedEvent, http_request

EVENTS = Path(__file__).parents[3] / "events"

REQUESTS = {
    "a plain GET": HttpRequest("GET", "/health", [("Host", "chat.example")], b"", "203.0.113.7"),
    "JSON": HttpRequest(
        "POST",
        "/chat-stream",
        [("Host", "chat.example"), ("Content-Type", "application/json"), ("Authorization", "Bearer t")],
        '{"message":"Grüße"}'.encode(),
        "203.0.113.7",
    ),
    "bytes": HttpRequest("PUT", "/blob", [("Host", "chat.example")], bytes(range(256)), "203.0.113.7"),
    "an encoded path": HttpRequest(
        "GET", "/a%20b/%2F%25/caf%C3%A9/+", [("Host", "chat.example")], b"", "203.0.113.7"
    ),
    "a query": HttpRequest(
        "GET", "/q?x=1&x=2&empty=&t=a%20b%26c", [("Host", "chat.example")], b"", "203.0.113.7"
    ),
    "repeated headers and cookies": HttpRequest(
        "GET",
        "/h",
        [("Host", "chat.example:8443"), ("X-Tag", "one"), ("X-Tag", "two"), ("Cookie", "a=1; b=2")],
        b"",
        "2001:db8::7",
    ),
    "a forged address": HttpRequest(
        "GET", "/f", [("Host", "chat.example"), ("X-Forwarded-For", "198.51.100.1")], b"", "203.0.113.7"
    ),
}


def joined(headers):
    """Joins repeated headers, as mangum does. ASGI allows both forms."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = by_name[name] + b", " + value if name in by_name else value
    return by_name


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("door", ["url", "rest"])
def test_mangum_reads_the_same_request_from_the_event(request_, door):
    event = function_url_event(request_) if door == "url" else rest_api_event(request_, "/{proxy+}")
    scope, body = http_request(event)

    config = {
        "api_gateway_base_path": "/",
        "text_mime_types": [],
        "exclude_headers": [],
    }
    peer = (HTTPGateway if door == "url" else APIGateway)(event, None, config)  # type: ignore[arg-type]
    assert body == peer.body == request_.body
    for key in ("type", "method", "path", "query_string", "root_path", "scheme", "http_version", "client"):
        assert scope[key] == peer.scope[key], key
    assert joined(scope["headers"]) == dict(peer.scope["headers"])


def test_the_scope_of_a_function_url_event():
    event = json.loads((EVENTS / "chat_stream_url.json").read_text())
    scope, body = http_request(event)
    assert json.loads(body) == {"message": "Tell me a short story."}
    headers = dict(scope.pop("headers"))
    assert headers[b"authorization"].startswith(b"Bearer ey")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/chat-stream",
        "raw_path": b"/chat-stream",
        "query_string": b"",
        "root_path": "",
        "client": ("203.0.113.24", 0),
        "server": ("abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws", 443),
    }


def test_the_scope_of_a_rest_api_event():
    event = json.loads((EVENTS / "messages_list_rest.json").read_text())
    scope, body = http_request(event)
    assert body == b""
    assert dict(scope.pop("headers"))[b"authorization"].startswith(b"Bearer ey")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/api/chat/conversations/7c9e6679-7425-40de-944b-e07fc1f90ae7/messages",
        "raw_path": b"/api/chat/conversations/7c9e6679-7425-40de-944b-e07fc1f90ae7/messages",
        "query_string": b"limit=20",
        "root_path": "",
        "client": ("203.0.113.24", 0),
        "server": ("a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", 443),
    }


# `env.json` is not an event: it has the variables of `sam local invoke`.
@pytest.mark.parametrize(
    "path", sorted(set(EVENTS.glob("*.json")) - {EVENTS / "env.json"}), ids=lambda path: path.stem
)
def test_every_sample_event_is_a_request(path):
    scope, _ = http_request(json.loads(path.read_text()))
    assert scope["path"].startswith("/")


def event_of_url(**changes):
    return json.loads((EVENTS / "chat_stream_url.json").read_text()) | changes


def event_of_rest(**changes):
    return json.loads((EVENTS / "chat_stream_rest.json").read_text()) | changes


def test_the_scope_has_the_encoded_and_the_decoded_path():
    scope, _ = http_request(event_of_url(rawPath="/caf%C3%A9/a%2Fb"))
    assert scope["path"] == "/café/a/b"
    assert scope["raw_path"] == b"/caf%C3%A9/a%2Fb"


def test_the_query_string_of_a_function_url_is_not_changed():
    scope, _ = http_request(event_of_url(rawQueryString="b=%20&a=1&b=+&c"))
    assert scope["query_string"] == b"b=%20&a=1&b=+&c"


def test_cookies_of_a_function_url_are_one_header():
    event = event_of_url(cookies=["a=1", "b=2"], headers={"cookie": "a=1; b=2", "host": "h"})
    assert http_request(event)[0]["headers"] == [(b"cookie", b"a=1; b=2"), (b"host", b"h")]
    event = event_of_url(cookies=["a=1", "b=2"], headers={"host": "h"})
    assert http_request(event)[0]["headers"] == [(b"host", b"h"), (b"cookie", b"a=1; b=2")]


def test_cookies_of_a_rest_api_are_one_header():
    event = event_of_rest(multiValueHeaders={"Cookie": ["a=1"], "cookie": ["b=2"]})
    assert http_request(event)[0]["headers"] == [(b"cookie", b"a=1; b=2")]


def test_repeated_headers_of_a_rest_api_stay_separate():
    event = event_of_rest(multiValueHeaders={"X-Tag": ["one", "two"]})
    assert http_request(event)[0]["headers"] == [(b"x-tag", b"one"), (b"x-tag", b"two")]


def test_the_body_may_be_base64_on_both_doors():
    encoded = base64.b64encode(b"\0\xff").decode()
    assert http_request(event_of_url(body=encoded, isBase64Encoded=True))[1] == b"\0\xff"
    assert http_request(event_of_rest(body=encoded, isBase64Encoded=True))[1] == b"\0\xff"


def test_headers_do_not_change_the_client_address():
    forged = {"x-forwarded-for": "198.51.100.1", "x-real-ip": "198.51.100.1", "host": "h"}
    assert http_request(event_of_url(headers=forged))[0]["client"] == ("203.0.113.24", 0)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("chat.example", ("chat.example", 443)),
        ("chat.example:8443", ("chat.example", 8443)),
        ("[2001:db8::1]:80", ("[2001:db8::1]", 80)),
        ("chat.example:", ("chat.example:", 443)),
    ],
)
def test_the_server_is_the_host_header(host, server):
    assert http_request(event_of_url(headers={"host": host}))[0]["server"] == server


@pytest.mark.parametrize(
    "event",
    [
        None,
        7,
        "text",
        [],
        {},
        {"requestContext": None},
        {"requestContext": {}},
        {"requestContext": {"http": {}}},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        # Events of a load balancer and of a WebSocket API.
        {"requestContext": {"elb": {}}, "httpMethod": "GET", "path": "/", "headers": {}, "body": ""},
        {"requestContext": {"routeKey": "$connect", "connectionId": "x"}, "isBase64Encoded": False},
        event_of_url(body="####", isBase64Encoded=True),
        event_of_url(body="\ud800"),
        event_of_url(headers={"host": 7}),
    ],
)
def test_other_events_are_unsupported(event):
    with pytest.raises(UnsupportedEvent):
        http_request(event)
