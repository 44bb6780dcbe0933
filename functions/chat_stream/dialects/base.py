"""What a dialect is: a parser for one front end's requests and an encoder for its answers. Pure."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from shared.events import Event


class Ask(Struct, frozen=True, kw_only=True):
    """What a client wants, whatever the format it said it in. None: not said."""

    question: str
    conversation_id: UUID | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class Encoder(Protocol):
    """Writes one answer. Stateful, used once."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """The bytes of these events, for one write; may be empty."""


class Dialect(Protocol):
    route: str

    def parse(self, body: bytes) -> Ask:
        """Raises InvalidRequest with the field at fault."""

    def encoder(self, offset: int = 0) -> Encoder:
        """For an answer whose first `offset` characters the client has."""
