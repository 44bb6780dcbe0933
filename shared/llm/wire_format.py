"""The interface of a wire format: it builds requests, decodes answers and maps errors.

All three do no I/O. Connections, timeouts, retries and fallbacks belong to `shared.llm.client`.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Literal, Protocol

from msgspec import Struct, structs

from shared import costs, errors
from shared.errors import UpstreamError
from shared.events import Event
from shared.llm.providers import ModelTarget
from shared.llm.think_tags import ThinkTags

Role = Literal["system", "user", "assistant"]


class ChatMessage(Struct, frozen=True):
    role: Role
    content: str


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A prompt and its parameters, independent of the model.

    `messages` is never empty and has only the roles `user` and `assistant`, in any order: wire formats send
    them through `alternating`. `temperature`: None means that it is not sent.
    """

    messages: tuple[ChatMessage, ...]
    system: str | None = None
    max_tokens: int = 4096
    temperature: float | None = None

    def estimated_tokens(self) -> int:
        """An estimate of the prompt's tokens, for providers that report no usage."""
        return costs.estimate_tokens(self.system or "", *[message.content for message in self.messages])


# The first message where a conversation begins with an answer: a window of the history may begin there, and
# some clients greet their users. The answer is kept, because the question may refer to it.
BEFORE_ANSWER = "[The conversation so far:]"


def alternating(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """The messages with roles that alternate and begin with the user, and without blank messages.

    The chat templates of many open models, and Anthropic's API, refuse anything else. Messages of one role
    that follow each other are joined with a blank line. `BEFORE_ANSWER` precedes an answer at the beginning.
    """
    not_blank = (message for message in messages if message.content.strip())
    result = [
        ChatMessage(role, "\n\n".join(message.content for message in group))
        for role, group in groupby(not_blank, attrgetter("role"))
    ]
    if result and result[0].role == "assistant":
        result.insert(0, ChatMessage("user", BEFORE_ANSWER))
    return result


def without_system_role(chat_request: ChatRequest) -> ChatRequest:
    """The request for a model without a system role: the system prompt precedes the first user message."""
    if not chat_request.system:
        return chat_request
    messages = (ChatMessage("user", chat_request.system), *alternating(chat_request.messages))
    return structs.replace(chat_request, messages=tuple(alternating(messages)), system=None)


class HttpRequest(Struct, frozen=True):
    """A POST with a JSON body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Decoder(Protocol):
    """Turns the bytes of one answer into events. It does no I/O, never raises and is used once.

    A fault becomes a `Failed` as the last event. After a `Finished` or `Failed` the decoder returns no
    more events, whatever bytes follow.
    """

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete, in order. Reads may split the stream anywhere."""

    def close(self) -> list[Event]:
        """Called at the end of the stream. Returns the events that are still missing: none if the answer has
        ended, its last events if it is complete without an end mark, else a `Failed` with
        `upstream_truncated`."""

    def reject(self) -> list[Event]:
        """Called if the bytes of the stream cannot be read, for instance because their compression is broken.
        Returns a `Failed` with `upstream_invalid`, or no events if the answer has ended."""


class WireFormat(Protocol):
    """The format of one vendor's API. Other vendors may use the same format."""

    def request(self, chat_request: ChatRequest, target: ModelTarget, api_key: str | None) -> HttpRequest: ...

    def decoder(self, think_tags: ThinkTags = "true") -> Decoder: ...

    def error(self, status: int, body: bytes) -> UpstreamError:
        """The error of a response with another status than 200. `body` may be cut at 64 KiB."""


def error_for_response(status: int, body: bytes) -> UpstreamError:
    """The error of a response with another status than 200, by its status and the words of its body. The
    vendor's own message is never passed on."""
    from shared.llm import refusals  # noqa: PLC0415 (only an error needs it)

    return refusals.error_for_response(status, body)


def refusal_in(*texts: object, status: int = 400) -> UpstreamError | None:
    """The refusal that these codes and sentences of an error event mean, or None if they mean none."""
    from shared.llm import refusals  # noqa: PLC0415 (only an error needs it)

    return refusals.refusal_in(*texts, status=status)


def error_for_status(status: int, *, field: str | None = None) -> UpstreamError:
    """The error for a status alone. `field` is the parameter that was refused, if it is known."""
    if status in {400, 422}:
        named = f": {field}" if field else ""
        return errors.RequestRefused(f"the model provider refused the request{named}", field=field)
    rejected = 300 <= status < 500  # A redirect too: the base URL is wrong.
    kind = _ERRORS.get(status, errors.UpstreamRejected if rejected else UpstreamError)
    return kind(f"the model provider answered {status}")


_ERRORS: Mapping[int, type[UpstreamError]] = {
    401: errors.UpstreamAuth,
    402: errors.UpstreamUnpaid,  # Payment required: only the owner of the account can fix it.
    403: errors.UpstreamAuth,
    408: errors.UpstreamTimeout,
    409: UpstreamError,
    429: errors.UpstreamRateLimited,
    503: errors.UpstreamOverloaded,
    504: errors.UpstreamTimeout,
    529: errors.UpstreamOverloaded,
}
