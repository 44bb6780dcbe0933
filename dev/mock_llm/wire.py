"""The interface of a mocked API, and helpers that all of them use."""

import re
from collections.abc import Mapping
from json import dumps
from typing import Any, Protocol

from msgspec import Struct

from dev.mock_llm.scripts import Script

VENDOR_WORDS = "The vendor's own words, for org-mock-7f3a"
"""The message of every scripted error. It must appear nowhere else: then an error has leaked."""

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


class Refusal(Exception):
    """The vendor would refuse this request. `param` is the wrong field, if there is one."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class NewTurn(Struct, frozen=True):
    """The parts of a checked request that the answer depends on."""

    model: str
    script: Script
    stream: bool = True
    include_usage: bool = False


class Answer(Struct, frozen=True):
    """The bytes of a body, one item for each event: the opening, the tokens, and the end.

    `end` is never empty. A body in one piece has `end` only.
    """

    content_type: str
    opening: tuple[bytes, ...] = ()
    thinking: tuple[bytes, ...] = ()
    text: tuple[bytes, ...] = ()
    end: tuple[bytes, ...] = ()


class Format(Protocol):
    """The HTTP API of a vendor. `ping`, `error_event` and `bad_event` are events; `endless` starts one."""

    ping: bytes
    bad_event: bytes
    endless: bytes

    @property
    def error_event(self) -> bytes: ...

    def __hash__(self) -> int: ...

    def check(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        """Raises Refusal if the vendor would refuse the request."""

    def question(self, body: dict[str, Any], script: Script) -> NewTurn: ...

    def answer(self, question: NewTurn) -> Answer: ...

    def error(self, status: int, message: str, param: str | None = None) -> tuple[int, bytes]:
        """The status, or the nearest one that the vendor has, and the JSON body of an error."""


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8, as vendors write it. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    text = dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def check_fields(body: dict[str, Any], known: str, sentence: str) -> None:
    """Refuses unknown names. `sentence` has a place for the name."""
    for name in body.keys() - known.split():
        raise Refusal(400, sentence.format(name), name)


def check_messages(body: dict[str, Any], roles: frozenset[str]) -> list[dict[str, Any]]:
    """The messages of a request. Refuses missing messages, unknown roles and missing content."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refusal(400, "model: Field required", "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required", "messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in roles:
            raise Refusal(400, f"messages.{i}.role: one of {', '.join(sorted(roles))}", "messages")
        if not isinstance(message.get("content"), str | list):
            raise Refusal(400, f"messages.{i}.content: a string or a list of parts", "messages")
    return messages


def check_number(body: dict[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refusal(400, f"{name}: a number from {low:g} to {high:g}", name)


def check_tokens(body: dict[str, Any], name: str) -> None:
    value = body.get(name)
    if name in body and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise Refusal(400, f"{name}: a whole number, 1 or more", name)
