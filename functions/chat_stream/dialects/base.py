"""What a dialect is: a parser for one front end's requests and encoders for its answers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from functions.chat_stream.request import TurnRequest
from shared.errors import ChatError
from shared.events import Event, Usage


class AnswerMeta(Struct, frozen=True):
    """What is known of an answer before its first word. `model` is the `provider/model` that answers,
    `created` in seconds since the epoch."""

    message_id: str
    model: str
    created: int


class CompletedAnswer(Struct, frozen=True):
    """A finished answer, for a client that did not want a stream. `reason` is a `FinishReason`."""

    meta: AnswerMeta
    text: str
    usage: Usage
    reason: str


class Encoder(Protocol):
    """Writes one answer as a stream. Stateful, used once."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """The bytes of these events, for one write; may be empty. After a `Finished` or `Failed` comes
        nothing more, so their bytes end the stream as the format wants it."""


class Dialect(Protocol):
    """One front end's format. `stateless` routes may be called without a token where that is allowed;
    `stored_or_nothing` is False where an answer goes on though it cannot be stored."""

    route: str
    stateless: bool
    requires_storage: bool
    max_body_bytes: int
    headers: Mapping[str, str]

    def parse(self, body: bytes) -> TurnRequest:
        """Raises InvalidRequest with the field at fault."""

    def encoder(self, ask: TurnRequest, meta: AnswerMeta, offset: int = 0) -> Encoder:
        """For an answer whose first `offset` characters the client has."""

    def whole(self, answer: CompletedAnswer) -> Any:
        """The JSON body of an answer that is not streamed. Only asked for what `parse` allowed."""

    def error(self, error: ChatError) -> Any:
        """The JSON body of a refusal."""
