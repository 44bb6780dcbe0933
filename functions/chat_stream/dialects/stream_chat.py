"""The stateless format: a conversation in, the text of the next answer out. Only its cost is stored.

The events are those of `content.py`.
"""

from msgspec import Struct

from functions.chat_stream.dialects.base import AnswerMeta, Dialect
from functions.chat_stream.dialects.content import ContentEncoder
from functions.chat_stream.dialects.fields import MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.messages import Messages, split_messages
from functions.chat_stream.request import TurnRequest
from shared.json_bodies import decode


class Body(Struct, frozen=True, kw_only=True):
    messages: Messages
    model: ModelName | None = None
    temperature: Temperature = 0.7
    max_tokens: MaxTokens = 1000


class StreamChat(Dialect):
    route = "/stream-chat"
    stateless = True

    def parse(self, body: bytes) -> TurnRequest:
        fields = decode(body, Body)
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
