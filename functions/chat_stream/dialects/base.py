"""What a dialect is: a parser for the requests of one front end, and an encoder for its answers. No I/O."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from msgspec import Struct

from functions.chat_stream.request import TurnRequest
from shared.errors import ChatError
from shared.events import Event, Usage


class AnswerMeta(Struct, frozen=True):
    """What is known of an answer before its first word.

    `model` is the `provider/model` that answers, `created` is in seconds since the epoch.
    """

    message_id: str
    model: str
    created: int


class CompletedAnswer(Struct, frozen=True):
    """An answer for a client that did not ask for a stream. `reason` is a `FinishReason`."""

    meta: AnswerMeta
    text: str
    usage: Usage
    reason: str


class Encoder(Protocol):
    """Writes one answer as a stream. It has state and is used once."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """The bytes of these events, for one write; may be empty. A `Finished` or `Failed` is the last event,
        and its bytes end the stream as the format demands."""


class Dialect(ABC):
    """The wire format of one front end, with the defaults of most.

    `route`: the path of its endpoint.
    `stateless`: it may be called without a token where ALLOW_ANONYMOUS is on.
    `requires_storage`: without the database there is no answer.
    `max_body_bytes`: of a request. Most clients send the whole conversation.
    `headers`: what every answer of the format has.
    """

    route: ClassVar[str]
    stateless: ClassVar[bool] = False
    requires_storage: ClassVar[bool] = True
    max_body_bytes: ClassVar[int] = 1024 * 1024
    headers: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def parse(self, body: bytes) -> TurnRequest:
        """Raises InvalidRequest, which names the field at fault."""

    @abstractmethod
    def encoder(self, request: TurnRequest, meta: AnswerMeta, offset: int = 0) -> Encoder:
        """An encoder for an answer. The client has its first `offset` characters."""

    def complete_answer(self, answer: CompletedAnswer) -> Any:
        """The JSON body of an answer without a stream. Called only where `parse` allows `stream: false`."""
        raise NotImplementedError

    def error(self, error: ChatError) -> Any:
        """The JSON body of a refusal."""
        return error.body()


def token_counts(usage: Usage) -> dict[str, int]:
    """The usage as OpenAI's names have it; several formats share them."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
