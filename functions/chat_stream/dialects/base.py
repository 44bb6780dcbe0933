"""What a dialect is: a parser for one front end's requests and encoders for its answers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from shared.errors import ChatError
from shared.events import Event, Usage
from shared.llm.base import ChatMessage


class Place(Struct, frozen=True):
    """Where a turn is stored: `conversation_id`, or a new conversation if None.

    `name` is the client's own name for a conversation that is made when it is first used; it may be
    anything. `replaces` asks for another answer in place of one that is there: that message's id, or
    "" for the last.
    """

    conversation_id: UUID | None = None
    name: str | None = None
    replaces: str | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """What a client wants, whatever the format it said it in. None: not said.

    `messages` ends with the user's question. Of a turn that is stored (`place`) only the question is
    taken from them, as the rest is known. `system` None is the project's own prompt, "" is none.
    `key` is the client's own name for this turn, where the format has one. `chunk_words` gathers so
    many words into one event.
    """

    messages: tuple[ChatMessage, ...]
    place: Place | None = None
    system: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    key: str | None = None
    stream: bool = True
    include_usage: bool = False
    chunk_words: int = 0

    @property
    def question(self) -> str:
        return self.messages[-1].content


class Head(Struct, frozen=True):
    """What is known of an answer before its first word. `model` is the `provider/model` that answers,
    `created` in seconds since the epoch."""

    message_id: str
    model: str
    created: int


class WholeAnswer(Struct, frozen=True):
    """A finished answer, for a client that did not want a stream. `reason` is a `FinishReason`."""

    head: Head
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
    stored_or_nothing: bool
    max_body_bytes: int
    headers: Mapping[str, str]

    def parse(self, body: bytes) -> Ask:
        """Raises InvalidRequest with the field at fault."""

    def encoder(self, ask: Ask, head: Head, offset: int = 0) -> Encoder:
        """For an answer whose first `offset` characters the client has."""

    def whole(self, answer: WholeAnswer) -> Any:
        """The JSON body of an answer that is not streamed. Only asked for what `parse` allowed."""

    def error(self, error: ChatError) -> Any:
        """The JSON body of a refusal."""
