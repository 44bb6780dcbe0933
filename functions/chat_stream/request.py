"""A client's request in a form that is the same for all dialects, and two request headers."""

import re
from typing import Any
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request

from shared.errors import InvalidRequest
from shared.llm.wire_format import ChatMessage
from shared.parameters import Parameter


class ConversationRef(Struct, frozen=True):
    """The conversation that a turn is stored in.

    `conversation_id`: an existing conversation, or a new one if None.
    `external_id`: the id that the client chose, any text. The first turn with it creates the conversation.
    `replaces`: the id of the answer that a regenerated answer replaces, or "" for the last answer.
    """

    conversation_id: UUID | None = None
    external_id: str | None = None
    replaces: str | None = None


class TurnRequest(Struct, frozen=True, kw_only=True):
    """The content of a request. A field that the client did not send is None.

    `messages`: the conversation as the client sent it; the last one is the user's question. A stored turn
    (`conversation` is not None) uses only the question, because the server has the rest.
    `system`: the system prompt. None: the project's default. "": no system prompt.
    `idempotency_key`: a key made from ids in the body, for dialects that send such ids.
    `stream`: False asks for the whole answer as one JSON body.
    `include_usage`: the stream ends with the token counts (OpenAI's `stream_options`).
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


class IdempotencyKey(Parameter[str | None], frozen=True, kw_only=True, eq=False):
    """1 to 255 printable ASCII characters. None if the header is missing."""

    def parse(self, text: str | None) -> str | None:
        if text is not None and not (0 < len(text) <= 255 and text.isascii() and text.isprintable()):
            raise InvalidRequest(f"{self.name} must be 1 to 255 ASCII characters", field=self.name)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}


class EventId(Struct, frozen=True):
    """The position of an event in an answer: `characters` are the characters up to and including the event.
    `is_end`: the event is the last one."""

    characters: int = 0
    is_end: bool = False


_EVENT_ID = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}|end))?", re.ASCII)


class LastEventId(Parameter[EventId | None], frozen=True, kw_only=True, eq=False):
    """An event id: the number of characters so far in 1 to 9 digits, for an event without text and a number
    of its own `<characters>.<number>`, and for the last event `<characters>.end`. None if the header is
    missing or empty."""

    def parse(self, text: str | None) -> EventId | None:
        if not text:
            return None
        found = _EVENT_ID.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"{self.name} must be an event id of this answer: digits, or digits and .end", field=self.name
            )
        return EventId(int(found[1]), found[2] == "end")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{_EVENT_ID.pattern})?$"}


IDEMPOTENCY_KEY = IdempotencyKey(
    name="Idempotency-Key",
    place="header",
    description="The client's key for this turn. The same request with the same key returns the same answer"
    " from its beginning, even if it is still being written. Another request with the same key returns 422.",
)
LAST_EVENT_ID = LastEventId(
    name="Last-Event-ID",
    place="header",
    description="The `id` of the last event that the client received. The response starts after this event."
    " After the last event of an answer the response is 204. A request that starts a turn and has this header"
    " continues the answer of an earlier request: that with the same `Idempotency-Key`, or without a key the"
    " newest one of the last 10 minutes with the same body. If there is none, the response is 409.",
)


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header. Raises InvalidRequest."""
    return IDEMPOTENCY_KEY.parse(request.headers.get(IDEMPOTENCY_KEY.name))


def last_event_id(request: Request) -> EventId | None:
    """The `Last-Event-ID` header: the last event that the client has. Raises InvalidRequest."""
    return LAST_EVENT_ID.parse(request.headers.get(LAST_EVENT_ID.name))
