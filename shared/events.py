"""The events of an answer, from the provider's decoder to the dialect's encoder.

The last event of a turn is exactly one `Finished` or `Failed`. A turn or a replay makes `Started`. Decoders
make the others. A turn may also end an answer with `Finished` or `Failed`. Dialects encode all events.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

FinishReason = Literal["stop", "length", "content_filter", "cancelled", "deadline"]


class Started(Struct, frozen=True, gc=False):
    """The answer has an id (UUID as text) and the model has accepted the request."""

    message_id: str


class TextDelta(Struct, frozen=True, gc=False):
    """The next piece of the answer's text. Never empty."""

    text: str


class ReasoningDelta(Struct, frozen=True, gc=False):
    """The next piece of the model's reasoning, if the provider sends it. Not part of the answer's text."""

    text: str


class Usage(Struct, frozen=True, gc=False):
    """Tokens so far, cumulative: a later `Usage` replaces an earlier one.

    `input` is the whole prompt and includes `cache_read` and `cache_write`; `output` includes
    `reasoning`. `estimated`: at least one number is not the provider's final count.
    """

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False


class Finished(Struct, frozen=True, gc=False):
    """The answer is complete, or was ended on purpose. `reason` says how. `limit` is "budget" if the rest of
    a budget was the bound of an answer with the reason `length`. `model` is the `provider/model` that
    answered, in a replay; else None."""

    reason: FinishReason
    limit: Literal["budget"] | None = None
    model: str | None = None


class Failed(Struct, frozen=True, gc=False):
    """The answer failed. `code` is a code of `shared.errors`. `message` is a fixed text for developers; it
    contains no text of a provider, a prompt or an answer. `retryable`: if the answer failed before its first
    content, the model may be asked again at once."""

    code: str
    message: str
    retryable: bool


Event: TypeAlias = Started | TextDelta | ReasoningDelta | Usage | Finished | Failed
