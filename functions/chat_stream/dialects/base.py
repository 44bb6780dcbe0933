"""The interface of a dialect: it parses the requests of one front end and encodes the answers. It does no
I/O."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from msgspec import Struct

from functions.chat_stream.request import TurnRequest
from shared.endpoints import RATE_LIMIT_HEADERS, EventStream, LazyTypes
from shared.errors import ChatError
from shared.events import Event, Usage


class AnswerMeta(Struct, frozen=True):
    """The fields of an answer that are known before its text.

    `model` is the `provider/model` that answers, `created` is in seconds since the epoch.
    """

    message_id: str
    model: str
    created: int


class CompletedAnswer(Struct, frozen=True):
    """A complete answer, for a client that asked for no stream. `reason` is a `FinishReason`."""

    meta: AnswerMeta
    text: str
    usage: Usage
    reason: str


class Encoder(Protocol):
    """Writes one answer as a stream. It has state and is used once."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Encodes events into the bytes of one write, which may be empty. `Finished` and `Failed` are always
        last; their bytes end the stream."""


class DialectDescription(Struct, frozen=True, kw_only=True):
    """The description of a dialect's endpoint for OpenAPI. The rest follows from the dialect's attributes.

    `body`: the type that `parse` decodes.
    `can_store`: the turn can be stored in a conversation.
    `complete_type`: returns the type of `complete_answer`, for dialects with `stream: false`.
    `error_type`: returns the type of `error`, if it is not the error contract of `shared/errors.py`.
    """

    operation_id: str
    summary: str
    body: type
    example: Mapping[str, Any]
    events: EventStream
    can_store: bool = True
    complete_type: Callable[[], Any] | None = None
    error_type: Callable[[], Any] | None = None


class Dialect(ABC):
    """The format of one front end. The class variables have the values that most dialects use.

    `description`: for OpenAPI.
    `route`: the path of its endpoint.
    `allows_anonymous`: a token is optional if ALLOW_ANONYMOUS is on.
    `requires_storage`: False if a stored turn may continue when the database fails and no budget is set.
    `stops_on_disconnect`: a closed connection cancels the turn. For formats whose clients cannot resume an
    answer: the answers are not stored and have no event ids.
    `max_body_bytes`: the largest request body. It is large because most clients send the whole conversation.
    `headers`: the headers that each answer of the dialect has.
    `statuses`: the statuses of error codes that have another status in this format.
    """

    description: ClassVar[DialectDescription]
    route: ClassVar[str]
    allows_anonymous: ClassVar[bool] = False
    requires_storage: ClassVar[bool] = True
    stops_on_disconnect: ClassVar[bool] = False
    max_body_bytes: ClassVar[int] = 1024 * 1024
    headers: ClassVar[Mapping[str, str]] = {}
    statuses: ClassVar[Mapping[str, int]] = {}

    @abstractmethod
    def parse(self, body: bytes) -> TurnRequest:
        """Parses a request body. Raises InvalidRequest with the invalid field."""

    @abstractmethod
    def encoder(self, request: TurnRequest, meta: AnswerMeta, offset: int = 0) -> Encoder:
        """Makes the encoder of one answer. The client already has the first `offset` characters."""

    def complete_answer(self, answer: CompletedAnswer) -> Any:
        """The JSON body of an answer without a stream. Called only for requests with `stream: false`."""
        raise NotImplementedError

    def error(self, error: ChatError) -> Any:
        """The JSON body of an error."""
        return error.body()


def event_stream(
    types: LazyTypes,
    *,
    format_docs: str | None,
    description: str = "The answer as a stream.",
    event_names: tuple[str, ...] = (),
    has_ids: bool = False,
    last_data: str | None = None,
) -> EventStream:
    """The description of a stream, with the headers that each answer has."""
    return EventStream(
        description=description,
        types=types,
        format_docs=format_docs or "",
        event_names=event_names,
        has_ids=has_ids,
        last_data=last_data,
        headers=("X-Message-Id", "Cache-Control"),
        optional_headers=("X-Model", "X-Conversation-Id", *RATE_LIMIT_HEADERS),
    )


def token_counts(usage: Usage) -> dict[str, int]:
    """The token counts under OpenAI's names, which several dialects use."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
