"""The stateless format: a conversation in, the text of the next answer out, and nothing stored but
what it cost. The events are those of `content.py`."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from functions.chat_stream.dialects import messages
from functions.chat_stream.dialects.base import AnswerMeta, CompletedAnswer
from functions.chat_stream.dialects.content import ContentEncoder
from functions.chat_stream.dialects.fields import MAX_CONVERSATION_BYTES, MaxTokens, ModelName, Temperature
from functions.chat_stream.dialects.messages import Messages
from functions.chat_stream.request import TurnRequest
from shared import web
from shared.errors import ChatError


class Body(Struct, frozen=True, kw_only=True):
    messages: Messages
    model: ModelName | None = None
    temperature: Temperature = 0.7
    max_tokens: MaxTokens = 1000


class StreamChat:
    route = "/stream-chat"
    stateless = True
    requires_storage = True
    max_body_bytes = MAX_CONVERSATION_BYTES
    headers: Mapping[str, str] = {}

    def parse(self, body: bytes) -> TurnRequest:
        said = web.decode(body, Body)
        system, conversation = messages.split(said.messages)
        return TurnRequest(
            messages=conversation,
            system=system,
            model=said.model,
            temperature=said.temperature,
            max_tokens=said.max_tokens,
        )

    def encoder(self, _ask: TurnRequest, _head: AnswerMeta, _offset: int = 0) -> ContentEncoder:
        return ContentEncoder()

    def whole(self, answer: CompletedAnswer) -> Any:
        raise NotImplementedError  # this format has streams only

    def error(self, error: ChatError) -> Any:
        return error.body()
