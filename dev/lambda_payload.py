"""Turns the payload of a function into an HTTP response, as AWS's front doors do.

No I/O. Sources: AWS, "Response streaming" (a JSON prelude, eight NULs, the body) and "Output format of a
Lambda function for proxy integration" (one JSON object).
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_DELIMITER = bytes(8)
_MAX_PRELUDE_BYTES = 16 * 1024


class MalformedPayload(Exception):
    """The payload is not a response. The client gets status 502."""


@dataclass(frozen=True)
class ResponseHead:
    """The status and the headers of a response."""

    status: int
    headers: list[tuple[str, str]]


class PayloadReader:
    """Reads a payload in pieces. Yields a ResponseHead and then the pieces of the body.

    A `streaming` payload has a prelude, the other kind is one JSON object. Raises MalformedPayload.
    """

    def __init__(self, *, streaming: bool) -> None:
        self._streaming = streaming
        self._in_body = False
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[ResponseHead | bytes]:
        if self._in_body:
            yield data
            return
        self._buffer += data
        if self._streaming:
            yield from self._split()

    def close(self) -> Iterator[ResponseHead | bytes]:
        """Yields the rest at the end of the payload."""
        if self._in_body:
            return
        if self._streaming:
            raise MalformedPayload("the payload has no delimiter")
        described = _json_object(bytes(self._buffer))
        if "statusCode" not in described:
            raise MalformedPayload("the payload has no statusCode")
        body = described.get("body") or ""
        yield _head(described, default_type="application/json")
        yield base64.b64decode(body) if described.get("isBase64Encoded") else str(body).encode()

    def _split(self) -> Iterator[ResponseHead | bytes]:
        end = self._buffer.find(_DELIMITER)
        if (len(self._buffer) if end < 0 else end + len(_DELIMITER)) > _MAX_PRELUDE_BYTES:
            raise MalformedPayload("the delimiter is not within the first 16 KB")
        if end < 0:
            return
        self._in_body = True
        yield _head(_json_object(bytes(self._buffer[:end])), default_type="application/octet-stream")
        if rest := bytes(self._buffer[end + len(_DELIMITER) :]):
            yield rest


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        described = json.loads(data)
    except ValueError:
        raise MalformedPayload("the payload is not JSON") from None
    if not isinstance(described, dict):
        raise MalformedPayload("the payload is not a JSON object")
    return described


def _head(described: dict[str, Any], *, default_type: str) -> ResponseHead:
    try:
        status = int(described.get("statusCode", 200))
        several = described.get("multiValueHeaders") or {}
        names = {name.lower() for name in several}
        single = (described.get("headers") or {}).items()
        headers = [(name, str(value)) for name, value in single if name.lower() not in names]
        headers += [(name, str(value)) for name, values in several.items() for value in values]
        headers += [("set-cookie", cookie) for cookie in described.get("cookies") or ()]
    except (TypeError, ValueError, AttributeError):
        raise MalformedPayload("the payload is not of the proxy format") from None
    if not 200 <= status <= 599:
        raise MalformedPayload("the status is none of a response")
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", default_type))
    return ResponseHead(status, headers)
