"""The types of the events and responses of all dialects, only for the OpenAPI document. The encoders format
JSON by hand."""

from typing import Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType


class TokenCounts(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenEvent(Struct, frozen=True):
    type: Literal["token"]
    content: str


class DoneEvent(Struct, frozen=True, rename="camel"):
    """`finishReason` is present if the model did not end the answer itself. `limit` is present if the rest of
    a budget ended it."""

    type: Literal["done"]
    message_id: UUID
    usage: TokenCounts
    model: str
    finish_reason: Literal["length", "content_filter", "cancelled", "deadline"] | UnsetType = UNSET
    limit: Literal["budget"] | UnsetType = UNSET


class FailedEvent(Struct, frozen=True):
    type: Literal["error"]
    message: str
    code: str


class ContentEvent(Struct, frozen=True):
    content: str


class ContentErrorEvent(Struct, frozen=True):
    error: str


class CompleteContent(Struct, frozen=True, rename="camel"):
    content: str
    model: str
    usage: TokenCounts
    message_id: UUID


class MessageStart(Struct, frozen=True, rename="camel"):
    message_id: UUID


class MessageChunk(Struct, frozen=True, rename="camel"):
    message_id: UUID
    content: str
    done: Literal[False]


class MessageComplete(Struct, frozen=True, rename="camel"):
    message_id: UUID
    full_content: str


class MessageError(Struct, frozen=True):
    message: str


class CachedTokens(Struct, frozen=True):
    cached_tokens: int


class ReasoningTokens(Struct, frozen=True):
    reasoning_tokens: int


class CompletionUsage(TokenCounts, frozen=True):
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChunkDelta(Struct, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    index: int
    delta: ChunkDelta
    finish_reason: Literal["stop", "length", "content_filter"] | None


class ChatCompletionChunk(Struct, frozen=True):
    """`usage` is present if the request has `include_usage`. It is null in all chunks but the last."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET


class CompletionMessage(Struct, frozen=True):
    role: Literal["assistant"]
    content: str
    refusal: None


class CompletionChoice(Struct, frozen=True):
    index: int
    message: CompletionMessage
    logprobs: None
    finish_reason: Literal["stop", "length", "content_filter"]


class ChatCompletion(Struct, frozen=True):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class OpenAIErrorDetail(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(Struct, frozen=True):
    error: OpenAIErrorDetail


class Model(Struct, frozen=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct, frozen=True):
    object: Literal["list"]
    data: list[Model]


class UIStart(Struct, frozen=True, rename="camel"):
    type: Literal["start"]
    message_id: str


class UIStep(Struct, frozen=True):
    type: Literal["start-step", "finish-step", "abort"]


class UIPart(Struct, frozen=True):
    type: Literal["text-start", "text-end", "reasoning-start", "reasoning-end"]
    id: str


class UIDelta(Struct, frozen=True):
    type: Literal["text-delta", "reasoning-delta"]
    id: str
    delta: str


class UIError(Struct, frozen=True, rename="camel"):
    type: Literal["error"]
    error_text: str


class UIFinish(Struct, frozen=True, rename="camel"):
    type: Literal["finish"]
    finish_reason: Literal["stop", "length", "content-filter", "error", "other"]


class Health(Struct, frozen=True):
    status: Literal["ok"]
