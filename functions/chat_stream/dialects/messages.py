"""Parses a conversation that has system, user and assistant messages in one list."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from functions.chat_stream.dialects.fields import MAX_CONTENT, Content
from shared.errors import InvalidRequest
from shared.llm.wire_format import ChatMessage


class Message(Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    content: Content


Messages: TypeAlias = Annotated[list[Message], Meta(min_length=1)]

# The most messages that a stateless turn sends to the model. A stored turn has no limit here, because its
# messages come from the database.
_MAX_MESSAGES = 200


def split_messages(
    messages: Sequence[Message | ChatMessage], system: str | None = None, *, is_stored: bool = False
) -> tuple[str | None, tuple[ChatMessage, ...]]:
    """Returns the system prompt and the other messages. The last message is the user's question.

    The system prompt is `system` and all system messages, in order; None without any. Raises InvalidRequest
    for a conversation that does not end with a question, a system prompt that is too long, or too many
    messages for a stateless turn.
    """
    if len(messages) > _MAX_MESSAGES and not is_stored:
        raise InvalidRequest(
            f"messages must be an array of at most {_MAX_MESSAGES} items, unless the conversation is stored",
            field="messages",
        )
    system_texts = [system] if system else []
    others = []
    for number, message in enumerate(messages):
        if message.role == "system":
            system_texts.append(message.content)
        else:
            others.append((number, ChatMessage(message.role, message.content)))
    prompt = "\n\n".join(text for text in system_texts if text.strip())
    if len(prompt) > MAX_CONTENT:
        raise InvalidRequest(
            f"system messages must have at most {MAX_CONTENT} characters in all", field="messages"
        )
    if not others or others[-1][1].role != "user":
        raise InvalidRequest("the last message must have the role user", field="messages")
    number, question = others[-1]
    if not question.content.strip():
        raise InvalidRequest("the user's message must not be blank", field=f"messages[{number}].content")
    return prompt or None, tuple(message for _, message in others)
