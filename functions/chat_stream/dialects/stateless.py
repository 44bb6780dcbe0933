"""The stateless dialect. The request contains the conversation, the answer is its next message. Only the cost
is stored.

The events are those of `content_encoder.py`.
"""

from msgspec import Struct

from functions.chat_stream.dialects.base import AnswerMeta, Dialect, DialectDescription
from functions.chat_stream.dialects.content_encoder import CONTENT_EVENTS, ContentEncoder
from functions.chat_stream.dialects.fields import MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.messages import Messages, split_messages
from functions.chat_stream.dialects.unsupported_fields import (
    ONLY_STREAMS,
    field_table,
    refuse_unsupported,
    refuse_unsupported_in_messages,
)
from functions.chat_stream.request import TurnRequest
from shared.json_bodies import decode


class Body(Struct, frozen=True, kw_only=True):
    messages: Messages
    model: ModelName | None = None
    temperature: Temperature = 0.7
    max_tokens: MaxTokens = 1000


_UNSUPPORTED = field_table(Body, ONLY_STREAMS)


class StatelessDialect(Dialect):
    description = DialectDescription(
        operation_id="streamChat",
        summary="Send a conversation; only the cost is stored",
        body=Body,
        example={"messages": [{"role": "user", "content": "How do I sleep better?"}]},
        can_store=False,
        events=CONTENT_EVENTS,
    )
    route = "/stream-chat"
    allows_anonymous = True

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
        refuse_unsupported(body, _UNSUPPORTED)
        refuse_unsupported_in_messages(body)
        system, messages = split_messages(fields.messages)
        return TurnRequest(
            messages=messages,
            system=system,
            model=fields.model,
            temperature=fields.temperature,
            max_tokens=fields.max_tokens,
        )

    def encoder(self, _request: TurnRequest, _meta: AnswerMeta, _offset: int = 0) -> ContentEncoder:
        return ContentEncoder()
