"""Turns an HTTP request into the event that a function URL or a REST API sends to a function.

No I/O. Sources: AWS, "Invoking Lambda function URLs" (payload format 2.0) and "Input format of a Lambda
function for proxy integration" (1.0). Captured events show that both leave the path percent-encoded, and that
REST APIs decode the query string.
"""

import base64
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from dev.lambda_process import ACCOUNT
from dev.runtime_api import trace_root

_STAGE = "local"
# AWS sends bodies of all other types in base64, including those of forms.
_TEXT = re.compile(r"text/|application/(json|javascript|xml)|application/[\w.-]+\+(json|xml)")


@dataclass(frozen=True)
class HttpRequest:
    """`target` and `headers` are those that the client sent. Header names keep their case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    client: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


def resource_for(path: str, resources: Iterable[str]) -> str | None:
    """The resource that API Gateway chooses for a path, or None.

    A literal part has precedence over `{name}`, and `{name}` over `{name+}`.
    """
    matching = [resource for resource in resources if _path_parameters(resource, path) is not None]
    return min(matching, key=lambda r: [_generality(part) for part in r.split("/")], default=None)


def function_url_event(request: HttpRequest) -> dict[str, Any]:
    now = time.time()
    headers = {name.lower(): ",".join(values) for name, values in _grouped(_forwarded(request)).items()}
    query = _grouped(parse_qsl(request.query, keep_blank_values=True))
    host = request.header("host")
    text, is_base64 = _body(request)
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "cookies": re.split(r"; *", headers["cookie"]) if "cookie" in headers else None,
        "headers": headers,
        "queryStringParameters": {name: ",".join(values) for name, values in query.items()} or None,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.client,
                "userAgent": request.header("user-agent"),
            },
            "requestId": str(uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": _clf_time(now),
            "timeEpoch": int(now * 1000),
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }
    # Function URLs leave out absent values. REST APIs send null.
    return {name: value for name, value in event.items() if value is not None}


def rest_api_event(request: HttpRequest, resource: str) -> dict[str, Any]:
    now = time.time()
    headers = _grouped(_forwarded(request))
    query = _grouped(parse_qsl(request.query, keep_blank_values=True))
    host = request.header("host")
    text, is_base64 = _body(request)
    return {
        "resource": resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": _path_parameters(resource, request.path) or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "deploymentId": "local",
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "extendedRequestId": secrets.token_urlsafe(11),
            "httpMethod": request.method,
            "identity": {
                "accessKey": None,
                "accountId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": request.client,
                "user": None,
                "userAgent": request.header("user-agent"),
                "userArn": None,
            },
            "path": f"/{_STAGE}{request.path}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid4()),
            "requestTime": _clf_time(now),
            "requestTimeEpoch": int(now * 1000),
            "resourceId": "local",
            "resourcePath": resource,
            "stage": _STAGE,
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }


def _generality(part: str) -> int:
    return 0 if not part.startswith("{") else 2 if part.endswith("+}") else 1


def _path_parameters(resource: str, path: str) -> dict[str, str] | None:
    match = _pattern(resource).fullmatch(path)
    return match.groupdict() if match else None


@lru_cache(maxsize=256)
def _pattern(resource: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)(\\\+)?\\}", _capture, re.escape(resource)))


def _capture(parameter: re.Match[str]) -> str:
    return f"(?P<{parameter[1]}>{'.+' if parameter[2] else '[^/]+'})"


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _forwarded(request: HttpRequest) -> list[tuple[str, str]]:
    """The client's headers and those that AWS adds. AWS appends to X-Forwarded-For, and replaces others."""
    added = ("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id")
    hops = [value for name, value in request.headers if name.lower() == "x-forwarded-for"]
    return [
        *((name, value) for name, value in request.headers if name.lower() not in added),
        ("X-Amzn-Trace-Id", trace_root()),
        ("X-Forwarded-For", ", ".join([*hops, request.client])),
        ("X-Forwarded-Port", request.header("host").partition(":")[2] or "80"),
        ("X-Forwarded-Proto", "http"),
    ]


def _body(request: HttpRequest) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    if _TEXT.match(request.header("content-type").lower()):
        try:
            return request.body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(request.body).decode(), True


def _clf_time(seconds: float) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(seconds))
