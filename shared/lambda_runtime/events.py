"""Turns a Lambda event into an ASGI request: a scope and a body.

Function URLs send payload format 2.0, REST APIs format 1.0 (AWS: "Invoking Lambda function URLs" and
"Input format of a Lambda function for proxy integration"). Both leave the path percent-encoded. REST
APIs decode the query string, and this module encodes it again.
"""

import base64
from typing import Any
from urllib.parse import unquote, urlencode

Headers = list[tuple[bytes, bytes]]


class UnsupportedEvent(Exception):
    """The event is not an HTTP request (a schedule, a queue, a test event), or it is malformed."""


def http_request(event: Any) -> tuple[dict[str, Any], bytes]:
    """Returns the ASGI scope and the body of `event`, which is any JSON value. Raises UnsupportedEvent.

    The scope's `client` is the address in the event's request context. Headers cannot change it.
    """
    try:
        context = event["requestContext"]
        scope = _from_function_url(event) if "http" in context else _from_rest_api(event)
        return scope, _body(event)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UnsupportedEvent("the event is not a request of a function URL or a REST API") from error


def _from_function_url(event: dict[str, Any]) -> dict[str, Any]:
    http = event["requestContext"]["http"]
    headers = {name.lower(): value for name, value in event["headers"].items()}
    # AWS sends cookies twice: joined in the headers and split in `cookies`. Some endpoints send only
    # `cookies`.
    if cookies := event.get("cookies"):
        headers["cookie"] = "; ".join(cookies)
    return _scope(
        method=http["method"],
        path=event["rawPath"],
        query=event["rawQueryString"],
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        client=http["sourceIp"],
    )


def _from_rest_api(event: dict[str, Any]) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, values in (event["multiValueHeaders"] or {}).items():
        headers.setdefault(name.lower(), []).extend(values)
    if cookies := headers.get("cookie"):
        headers["cookie"] = ["; ".join(cookies)]
    return _scope(
        method=event["httpMethod"],
        path=event["path"],
        query=urlencode(event["multiValueQueryStringParameters"] or {}, doseq=True),
        headers=[(name.encode(), value.encode()) for name, values in headers.items() for value in values],
        client=event["requestContext"]["identity"]["sourceIp"],
    )


def _scope(*, method: str, path: str, query: str, headers: Headers, client: str) -> dict[str, Any]:
    first_values = dict(reversed(headers))
    scheme = first_values.get(b"x-forwarded-proto", b"https").decode()
    return {
        "type": "http",
        # With 2.4 frameworks do not wait for `http.disconnect` while they send. Lambda sends none.
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(path) or "/",
        "raw_path": path.encode() or b"/",
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": (client, 0),
        "server": _server(first_values.get(b"host", b"").decode(), 80 if scheme == "http" else 443),
    }


def _server(host: str, default_port: int) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon and port.isdecimal() else (host, default_port)


def _body(event: dict[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    return base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
