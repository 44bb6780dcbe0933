"""What a provider is: a request made from a chat, and a decoder for the bytes that come back.

Both parts are pure. Connections, timeouts, retries and fallbacks belong to `shared.llm.client`.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from shared import costs, errors
from shared.errors import UpstreamError
from shared.events import Event

Role = Literal["system", "user", "assistant"]


class ChatMessage(Struct, frozen=True):
    role: Role
    content: str


class ChatRequest(Struct, frozen=True, kw_only=True):
    """One question to one model.

    `model` is the vendor's name for it, without our provider prefix. `messages` is never empty and
    holds `user` and `assistant` only, as stored: the provider mends alternation where its API wants
    it. `temperature` is None where the model takes no sampling parameters.
    """

    messages: tuple[ChatMessage, ...]
    model: str = ""
    system: str | None = None
    max_tokens: int = 4096
    temperature: float | None = None

    def estimated_tokens(self) -> int:
        """About what it is to read, for when the provider never says."""
        return costs.estimate_tokens(self.system or "", *(message.content for message in self.messages))


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a provider is reached: base URL without a trailing slash, and the key if it wants one."""

    base_url: str
    api_key: str | None = None


class HttpRequest(Struct, frozen=True):
    """A POST with a JSON body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Decoder(Protocol):
    """Turns the bytes of one answer into events. Pure, never raises, used once.

    Every fault becomes a `Failed` as the last event; after a `Finished` or `Failed` the decoder
    yields nothing more, whatever it is fed.
    """

    def feed(self, data: bytes) -> list[Event]:
        """The events that this read completes, in order; chunks may split anywhere."""

    def close(self) -> list[Event]:
        """The stream has ended: nothing if the answer was complete, else `upstream_truncated`."""


class Provider(Protocol):
    """One vendor's wire format."""

    def request(self, chat: ChatRequest, endpoint: Endpoint) -> HttpRequest: ...

    def decoder(self) -> Decoder: ...

    def error(self, status: int, body: bytes) -> UpstreamError:
        """The error of an answer with another status than 200; `body` may be cut at 64 KiB."""


def error_for_status(status: int) -> UpstreamError:
    """The error of an answer whose status says it all; what the vendor wrote beside it stays there."""
    rejected = 300 <= status < 500  # a redirect, too: our base URL is wrong
    kind = _ERRORS.get(status, errors.UpstreamRejected if rejected else UpstreamError)
    return kind(f"the model provider answered {status}")


_ERRORS: Mapping[int, type[UpstreamError]] = {
    401: errors.UpstreamAuth,
    402: errors.UpstreamAuth,  # not paid for: as with a key, only whoever holds the account can help
    403: errors.UpstreamAuth,
    408: errors.UpstreamTimeout,
    409: UpstreamError,
    429: errors.UpstreamRateLimited,
    503: errors.UpstreamOverloaded,
    504: errors.UpstreamTimeout,
    529: errors.UpstreamOverloaded,
}
