"""The web app's format: a conversation in; out come the events of `content.py`, or one JSON body.

    {"content":"Hello","model":"anthropic/...","usage":{"prompt_tokens":100,...},"messageId":"<uuid>"}

With a `conversation_id` the turn is stored there.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from functions.chat_stream.dialects import messages
from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer, Encoder
from functions.chat_stream.dialects.content import ContentEncoder
from functions.chat_stream.dialects.fields import MAX_CONVERSATION_BYTES, MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.messages import Messages
from functions.chat_stream.dialects.words import WordsEncoder
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared import web
from shared.errors import ChatError


class Body(Struct, frozen=True, kw_only=True):
    messages: Messages
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    stream: bool = True
    conversation_id: UUID | None = None
    chunk_words: Annotated[int, Meta(ge=1, le=100)] | None = None


class Chat:
    route = "/api/chat"
    stateless = True
    requires_storage = True
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        system, conversation = messages.split(said.messages, stored=said.conversation_id is not None)
        return TurnRequest(
            messages=conversation,
            conversation=ConversationRef(said.conversation_id) if said.conversation_id else None,
            system=system,
            model=said.model,
            temperature=said.temperature,
            max_tokens=said.max_tokens,
            stream=said.stream,
            chunk_words=said.chunk_words or 0,
        )

    def encoder(self, ask: TurnRequest, _head: AnswerMeta, _offset: int = 0) -> Encoder:
        encoder = ContentEncoder()
        return WordsEncoder(encoder, ask.chunk_words) if ask.chunk_words else encoder

    def whole(self, answer: CompletedAnswer) -> Any:
        return {
            "content": answer.text,
            "model": answer.meta.model,
            "usage": {
                "prompt_tokens": answer.usage.input,
                "completion_tokens": answer.usage.output,
                "total_tokens": answer.usage.input + answer.usage.output,
            },
            "messageId": answer.meta.message_id,
        }

    def error(self, error: ChatError) -> Any:
        return error.body()
