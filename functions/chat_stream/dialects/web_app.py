"""The dialect of the web app. The request contains the conversation. The answer is a stream with the events
of `content_encoder.py`, or one JSON body:

    {"content":"Hello","model":"anthropic/...","usage":{"prompt_tokens":100,...},"messageId":"<uuid>"}

If the request has a `conversation_id`, the turn is stored in that conversation.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from functions.chat_stream.dialects.base import (
    AnswerMeta,
    CompletedAnswer,
    Dialect,
    DialectDescription,
    Encoder,
    token_counts,
)
from functions.chat_stream.dialects.content_encoder import CONTENT_EVENTS, ContentEncoder
from functions.chat_stream.dialects.fields import MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.messages import Messages, split_messages
from functions.chat_stream.dialects.unsupported_fields import (
    CONVERSATION_IDS,
    field_table,
    refuse_unsupported,
    refuse_unsupported_in_messages,
)
from functions.chat_stream.dialects.word_groups import WordGroupEncoder
from functions.chat_stream.request import ConversationRef, TurnRequest
from shared.ids import RequestId
from shared.json_bodies import decode


class Body(Struct, frozen=True, kw_only=True):
    messages: Messages
    model: ModelName | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    stream: bool = True
    conversation_id: RequestId | None = None
    chunk_words: Annotated[int, Meta(ge=1, le=100)] | None = None


_UNSUPPORTED = field_table(Body, CONVERSATION_IDS)


def _complete_type() -> Any:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs it)

    return types.CompleteContent


class WebAppDialect(Dialect):
    description = DialectDescription(
        operation_id="chat",
        summary="Send a conversation; the turn is stored if it has a `conversation_id`",
        body=Body,
        example={"messages": [{"role": "user", "content": "How do I sleep better?"}]},
        events=CONTENT_EVENTS,
        complete_type=_complete_type,
    )
    route = "/api/chat"
    allows_anonymous = True

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        is_stored = fields.conversation_id is not None
        refuse_unsupported(body, _UNSUPPORTED)
        refuse_unsupported_in_messages(body, only_last=is_stored)
        system, messages = split_messages(fields.messages, is_stored=is_stored)
        return TurnRequest(
            messages=messages,
            conversation=ConversationRef(fields.conversation_id) if is_stored else None,
            system=system,
            model=fields.model,
            temperature=fields.temperature,
            max_tokens=fields.max_tokens,
            stream=fields.stream,
            chunk_words=fields.chunk_words or 0,
        )

    def encoder(self, request: TurnRequest, _meta: AnswerMeta, _offset: int = 0) -> Encoder:
        encoder = ContentEncoder()
        return WordGroupEncoder(encoder, request.chunk_words) if request.chunk_words else encoder

    def complete_answer(self, answer: CompletedAnswer) -> Any:
        return {
            "content": answer.text,
            "model": answer.meta.model,
            "usage": token_counts(answer.usage),
            "messageId": answer.meta.message_id,
        }
