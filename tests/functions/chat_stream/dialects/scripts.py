"""Example turns for every dialect, and a client for each dialect that reads the encoded turn."""

import json
from collections.abc import Sequence

import httpx
import httpx_sse
from msgspec import Struct

from functions.chat_stream.dialects.ai_sdk import AISDKDialect
from functions.chat_stream.dialects.base import AnswerMeta, Dialect
from functions.chat_stream.dialects.named_events import NamedEventsDialect
from functions.chat_stream.dialects.native import NativeDialect
from functions.chat_stream.dialects.openai_chat import OpenAIChatDialect
from functions.chat_stream.dialects.stateless import StatelessDialect
from functions.chat_stream.dialects.web_app import WebAppDialect
from functions.chat_stream.request import TurnRequest
from shared.events import Event, Failed, Finished, ReasoningDelta, Started, TextDelta, Usage
from shared.llm.wire_format import ChatMessage

MESSAGE_ID = "0b8f5f0e-7c3a-4f5e-9b0a-3f1f6c0d2a11"
META = AnswerMeta(MESSAGE_ID, "anthropic/claude-sonnet-5-5", 1_700_000_000)
_STARTED = Started(MESSAGE_ID)
_USAGE = Usage(100, 50, cache_read=20, reasoning=10)
_WORDS = [TextDelta("Good"), TextDelta(" morning"), TextDelta(", take"), TextDelta(" a deep breath.")]
_THOUGHTS = [ReasoningDelta("They are"), ReasoningDelta(" tired.")]

SCRIPTS: dict[str, list[Event]] = {
    "plain": [_STARTED, *_WORDS, _USAGE, Finished("stop")],
    "thinking": [_STARTED, *_THOUGHTS, *_WORDS, _USAGE, Finished("stop")],
    "thinking again": [_STARTED, *_THOUGHTS, *_WORDS, *_THOUGHTS, TextDelta(" Sleep."), Finished("stop")],
    "thinking only": [_STARTED, *_THOUGHTS, _USAGE, Finished("length")],
    "odd characters": [
        _STARTED,
        TextDelta('a "quote"\n\ndata: [DONE]\r\n\r\n'),
        TextDelta("日本\u2028🦉\u0085%s%b\u2029</script>"),
        Finished("stop"),
    ],
    "error in mid-stream": [
        _STARTED,
        *_WORDS,
        _USAGE,
        Failed("upstream_timeout", "the model sent nothing for too long", retryable=True),
    ],
    "error at once": [_STARTED, Failed("upstream_overloaded", "the model is busy", retryable=True)],
    "truncated": [_STARTED, *_WORDS, _USAGE, Finished("length")],
    "filtered": [_STARTED, _WORDS[0], _USAGE, Finished("content_filter")],
    "cancelled": [_STARTED, *_WORDS, _USAGE, Finished("cancelled")],
    "deadline": [_STARTED, *_WORDS, _USAGE, Finished("deadline")],
    "empty": [_STARTED, _USAGE, Finished("stop")],
}


class Case(Struct, frozen=True):
    """A dialect and a request in it."""

    dialect: Dialect
    request: TurnRequest

    def write(self, *groups: Sequence[Event]) -> list[bytes]:
        encoder = self.dialect.encoder(self.request, META)
        return [encoder.encode(events) for events in groups]


_REQUEST = TurnRequest(messages=(ChatMessage("user", "Hi"),))
CASES: dict[str, Case] = {
    "chat-stream": Case(NativeDialect(), _REQUEST),
    "stream-chat": Case(StatelessDialect(), _REQUEST),
    "chat": Case(WebAppDialect(), _REQUEST),
    "chat-in-words": Case(WebAppDialect(), TurnRequest(messages=_REQUEST.messages, chunk_words=3)),
    "stream": Case(NamedEventsDialect(), _REQUEST),
    "openai": Case(OpenAIChatDialect(), _REQUEST),
    "openai-with-usage": Case(
        OpenAIChatDialect(), TurnRequest(messages=_REQUEST.messages, include_usage=True)
    ),
    "ui": Case(AISDKDialect(), _REQUEST),
}


class ReadAnswer(Struct, frozen=True):
    """What a client reads from a stream: the text, and all ends. A correct stream has one end."""

    text: str
    ends: list[str]


def read(name: str, data: bytes) -> ReadAnswer:
    """Reads an encoded turn as a client of the dialect does, with a real event stream parser."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    # After an event with an id, httpx-sse reports a heartbeat as an event without data.
    events = [event for event in httpx_sse.EventSource(response).iter_sse() if event.data]
    pieces, ends = zip(*map(_READERS[name.partition("-in-")[0]], events), strict=True)
    return ReadAnswer("".join(pieces), [end for end in ends if end])


def _read_native(event):
    body = event.json()
    if body["type"] == "token":
        return body["content"], None
    return "", {"done": "good", "error": "error"}[body["type"]]


def _read_content(event):
    if event.data == "[DONE]":
        return "", "good"
    body = event.json()
    return body.get("content", ""), "error" if "error" in body else None


def _read_named(event):
    text = event.json()["content"] if event.event == "message-chunk" else ""
    return text, {"message-complete": "good", "error": "error"}.get(event.event)


def _read_openai(event):
    if event.data == "[DONE]":
        return "", "good"
    body = event.json()
    deltas = [choice["delta"].get("content", "") for choice in body.get("choices", ())]
    return "".join(deltas), "error" if "error" in body else None


def _read_ui(event):
    """Reads text and `finish`. The tests with the real AI SDK check the other parts."""
    body = {"type": "[DONE]"} if event.data == "[DONE]" else json.loads(event.data)
    text = body["delta"] if body["type"] == "text-delta" else ""
    if body["type"] != "finish":
        return text, None
    return text, "error" if body["finishReason"] == "error" else "good"


_READERS = {
    "chat-stream": _read_native,
    "stream-chat": _read_content,
    "chat": _read_content,
    "stream": _read_named,
    "openai": _read_openai,
    "openai-with-usage": _read_openai,
    "ui": _read_ui,
}
