"""What a client asks, whatever its wire format: the question, its conversation, and two headers."""

from uuid import UUID

from msgspec import Struct
from starlette.requests import Request

from shared.errors import InvalidRequest
from shared.llm.wire_format import ChatMessage


class ConversationRef(Struct, frozen=True):
    """The conversation that a turn is stored in.

    `conversation_id`: an existing conversation, or a new one if None.
    `name`: the client's own name for it, any text. The conversation is created when the name is first used.
    `replaces`: the id of the answer that a regenerated answer replaces, or "" for the last answer.
    """

    conversation_id: UUID | None = None
    name: str | None = None
    replaces: str | None = None


class TurnRequest(Struct, frozen=True, kw_only=True):
    """What the client asked. A field that the client did not send is None.

    `messages`: the conversation as the client sent it; the last one is the user's question. A stored turn
    (`conversation` is not None) uses only the question, because the server has the rest.
    `system`: None is the project's own system prompt, "" is none.
    `idempotency_key`: the format's own name for this turn, if the format has one.
    `stream`: False asks for the whole answer as one JSON body.
    `chunk_words`: the number of words in one event; 0 sends text as it arrives.
    """

    messages: tuple[ChatMessage, ...]
    conversation: ConversationRef | None = None
    system: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    idempotency_key: str | None = None
    stream: bool = True
    include_usage: bool = False
    chunk_words: int = 0

    @property
    def question(self) -> str:
        return self.messages[-1].content


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header, 1 to 255 printable ASCII characters. Raises InvalidRequest."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 ASCII characters", field="Idempotency-Key")
    return key


def last_event_id(request: Request) -> int:
    """The `Last-Event-ID` header: the number of characters that the client has, 0 without the header.

    Raises InvalidRequest for anything but 1 to 9 digits.
    """
    last = request.headers.get("last-event-id") or "0"
    if not (last.isascii() and last.isdecimal() and len(last) <= 9):
        raise InvalidRequest("Last-Event-ID must be the id of an event of this answer", field="Last-Event-ID")
    return int(last)
