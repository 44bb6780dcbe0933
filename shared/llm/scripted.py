"""A stand-in for a model where there is no key: it answers in OpenAI's wire format, at a natural pace.

It is a transport for httpx, so that everything above it is what a real provider gets. The answer
depends on the question and on nothing else, so that a test can say what it will be.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import msgspec

from shared.costs import estimate_tokens

# The .invalid top-level domain is reserved (RFC 2606): should the transport ever be missing, nobody
# is asked by accident.
SCRIPTED_URL = "http://scripted.invalid/v1"

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
_PUNCTUATION = re.compile(r"[^\w\s'-]+")


def answer_to(question: str) -> str:
    """The whole answer to a question, always the same one for the same words."""
    words = _PUNCTUATION.sub(" ", question).split()
    topic = "“" + " ".join(words[:12]) + "”" if words else "this"
    choice = hashlib.sha256(question.encode()).digest()
    opening = _OPENINGS[choice[0] % len(_OPENINGS)].format(topic=topic)
    return f"{opening} {_QUESTIONS[choice[1] % len(_QUESTIONS)]} {_CLOSING}"


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers chat completions by itself. `sleep` is what makes the pace."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        messages = msgspec.json.decode(await request.aread())["messages"]
        prompt = estimate_tokens(*(message["content"] for message in messages))
        question = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        return httpx.Response(
            200,
            headers={"content-type": "text/event-stream"},
            stream=_Paced(answer_to(question), prompt, self._sleep),
        )


class _Paced(httpx.AsyncByteStream):
    def __init__(self, answer: str, prompt_tokens: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._answer = answer
        self._prompt_tokens = prompt_tokens
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self._sleep(_FIRST_TOKEN_SECONDS)
        count = 0
        for token in _tokens(self._answer):
            yield _chunk({"delta": {"content": token}, "finish_reason": None})
            await self._sleep(_TOKEN_SECONDS)
            count += 1
        yield _chunk({"delta": {}, "finish_reason": "stop"})
        usage = {"prompt_tokens": self._prompt_tokens, "completion_tokens": count}
        yield _data({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _tokens(text: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(r"\s*\S{1,8}", text))


def _chunk(choice: dict[str, object]) -> bytes:
    return _data({"choices": [{"index": 0, **choice}]})


def _data(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
