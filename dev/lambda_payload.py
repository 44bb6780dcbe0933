"""Turns the payload of a function into an HTTP response, as function URLs and REST APIs do.

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
    """The payload is not an HTTP response. The client gets status 502."""


@dataclass(frozen=True)
class ResponseHead:
    """The status and the headers of a response."""

    status: int
    headers: list[tuple[str, str]]


class PayloadReader:
    """Parses a payload that arrives in parts. Yields a ResponseHead, then the parts of the body.

    A `streaming` payload starts with a prelude. Another payload is one JSON object. Raises MalformedPayload.
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
        """Call it at the end of the payload. Yields the rest of the response."""
        if self._in_body:
            return
        if self._streaming:
            raise MalformedPayload("the payload has no delimiter")
        response = _json_object(bytes(self._buffer))
        if "statusCode" not in response:
            raise MalformedPayload("the payload has no statusCode")
        body = response.get("body") or ""
        yield _head(response, default_type="application/json")
        yield base64.b64decode(body) if response.get("isBase64Encoded") else str(body).encode()

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
        response = json.loads(data)
    except ValueError:
        raise MalformedPayload("the payload is not JSON") from None
    if not isinstance(response, dict):
        raise MalformedPayload("the payload is not a JSON object")
    return response


def _head(response: dict[str, Any], *, default_type: str) -> ResponseHead:
    try:
        status = int(response.get("statusCode", 200))
        several = response.get("multiValueHeaders") or {}
        names = {name.lower() for name in several}
        single = (response.get("headers") or {}).items()
        headers = [(name, str(value)) for name, value in single if name.lower() not in names]
        headers += [(name, str(value)) for name, values in several.items() for value in values]
        headers += [("set-cookie", cookie) for cookie in response.get("cookies") or ()]
    except (TypeError, ValueError, AttributeError):
        raise MalformedPayload("the payload does not have the proxy format") from None
    if not 200 <= status <= 599:
        raise MalformedPayload("the status is not from 200 to 599")
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", default_type))
    return ResponseHead(status, headers)
