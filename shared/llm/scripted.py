"""A scripted model for use without a provider's key. It answers in the OpenAI format, with a pause between
tokens as a real model has.

It is a transport of httpx, so all code above it is the same as for a real provider. The answer depends on
the question alone, so tests can predict it.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import msgspec

from shared.costs import estimate_tokens

_FIRST_TOKEN_SECONDS = 0.3
_TOKEN_SECONDS = 0.03

_OPENINGS = (
    "Thank you for telling me about {topic}.",
    "I hear you: {topic} is on your mind.",
    "It makes sense that {topic} keeps you busy.",
    "Let's look at {topic} together, without hurry.",
)
_QUESTIONS = (
    "What would a good next step look like, if it could be as small as you like?",
    "When did you last feel a little lighter about it, and what was different then?",
    "What matters most to you in this, underneath the practical side?",
    "If a close friend told you the same, what would you wish for them?",
)
_CLOSING = (
    "I am a scripted stand-in, so these words come from a list and not from a model; "
    "set a provider's key and I will step aside."
)
_TOKEN = re.compile(r"\s*\S{1,8}")
_PUNCTUATION = re.compile(r"[^\w\s'-]+")


def answer_to(question: str) -> str:
    """The whole answer to a question. The same question has the same answer."""
    words = _PUNCTUATION.sub(" ", question).split()
    topic = "“" + " ".join(words[:12]) + "”" if words else "this"
    choice = hashlib.sha256(question.encode()).digest()
    opening = _OPENINGS[choice[0] % len(_OPENINGS)].format(topic=topic)
    return f"{opening} {_QUESTIONS[choice[1] % len(_QUESTIONS)]} {_CLOSING}"


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers requests for chat completions. `sleep` makes the pauses between tokens."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        messages = msgspec.json.decode(await request.aread())["messages"]
        question = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        return httpx.Response(
            200,
            headers={"content-type": "text/event-stream"},
            stream=_AnswerStream(answer_to(question), messages, self._sleep),
        )


class _AnswerStream(httpx.AsyncByteStream):
    def __init__(
        self, answer: str, messages: list[dict[str, str]], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._answer = answer
        self._messages = messages
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self._sleep(_FIRST_TOKEN_SECONDS)
        tokens = 0
        for token in _TOKEN.finditer(self._answer):
            yield _event({"choices": [{"index": 0, "delta": {"content": token[0]}, "finish_reason": None}]})
            await self._sleep(_TOKEN_SECONDS)
            tokens += 1
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        prompt_tokens = estimate_tokens(*[message["content"] for message in self._messages])
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
        yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _event(chunk: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
