"""The interface of the mocked vendor APIs, and functions that they share."""

import re
from collections.abc import Mapping
from json import dumps
from typing import Any, Protocol

from msgspec import Struct

from dev.mock_llm.scripts import Script

VENDOR_WORDS = "The vendor's own words, for org-mock-7f3a"
"""The message of every scripted error. Tests check that it never reaches a client."""

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


class Refusal(Exception):
    """The vendor would refuse this request. `param` is the invalid field, if it is one field. `code` is the
    vendor's code, in formats that have one."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def prompt_texts(body: dict[str, Any]) -> list[str]:
    """The system prompt and the texts of all messages."""
    contents = [body.get("system") or "", *(message["content"] for message in body["messages"])]
    return [
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        for content in contents
    ]


def check_prompt(api: "VendorApi", body: dict[str, Any], script: Script) -> None:
    """Refuses a prompt that does not fit into the script's context, or that has the word of its filter."""
    texts = prompt_texts(body)
    if script.filter and any(script.filter in text for text in texts):
        raise api.filtered()
    prompt = sum(len(text.encode("utf-8", "replace")) for text in texts) // 4
    answer = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    if script.context and prompt + answer > script.context:
        raise api.too_long(prompt, answer, script.context)


class ChatRequest(Struct, frozen=True):
    """The parts of a valid request that determine the answer."""

    model: str
    script: Script
    stream: bool = True
    include_usage: bool = False


class Answer(Struct, frozen=True):
    """The bytes of a response body. Each item is one event.

    `end` is never empty. A body that is not streamed has only `end`. `end_mark` follows the finish reason and
    the usage.
    """

    content_type: str
    opening: tuple[bytes, ...] = ()
    thinking: tuple[bytes, ...] = ()
    text: tuple[bytes, ...] = ()
    end: tuple[bytes, ...] = ()
    end_mark: tuple[bytes, ...] = ()


class VendorApi(Protocol):
    """The HTTP API of a vendor. `endless` is the beginning of an event."""

    ping: bytes
    bad_event: bytes
    endless: bytes

    @property
    def error_event(self) -> bytes: ...

    def __hash__(self) -> int: ...

    def check(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        """Raises Refusal if the request is invalid."""

    def chat_request(self, body: dict[str, Any], script: Script) -> ChatRequest: ...

    def answer(self, request: ChatRequest) -> Answer: ...

    def error(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> tuple[int, bytes]:
        """The status and the JSON body of an error. A status that the vendor does not use is replaced by the
        nearest one."""

    def too_long(self, prompt: int, answer: int, context: int) -> Refusal:
        """The refusal of a prompt and an answer, in tokens, that exceed the context together."""

    def filtered(self) -> Refusal:
        """The refusal of a prompt by the content filter."""

    def unknown_model(self, model: str) -> Refusal: ...


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8, as vendors write it. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    text = dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def check_fields(body: dict[str, Any], known: str, sentence: str) -> None:
    """Refuses unknown fields. `sentence` is the message, with `{}` for the field."""
    for name in body.keys() - known.split():
        raise Refusal(400, sentence.format(name), name)


def check_messages(body: dict[str, Any], roles: frozenset[str]) -> list[dict[str, Any]]:
    """Returns the messages of a request. Refuses missing messages, unknown roles and missing content."""
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
