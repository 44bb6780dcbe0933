"""A conversation as clients send it, with the system's words among those of user and assistant."""

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

# What a model is asked to read at once. Of a turn that is stored the server chooses that itself, and a
# client may send all it has.
_MAX_MESSAGES = 200


def split(
    messages: Sequence[Message | ChatMessage], system: str | None = None, *, stored: bool = False
) -> tuple[str | None, tuple[ChatMessage, ...]]:
    """What the system says, `system` first, and what was said after it, the user's question last.
    Raises InvalidRequest for a conversation without a question, a system prompt that is too long, or
    too many messages unless the turn is to be `stored`."""
    if len(messages) > _MAX_MESSAGES and not stored:
        raise InvalidRequest(
            f"messages must be an array of length <= {_MAX_MESSAGES}, unless the conversation is stored",
            field="messages",
        )
    system_words = [system] if system else []
    said = []
    for number, message in enumerate(messages):
        if message.role == "system":
            system_words.append(message.content)
        else:
            said.append((number, ChatMessage(message.role, message.content)))
    prompt = "\n\n".join(words for words in system_words if words.strip())
    if len(prompt) > MAX_CONTENT:
        raise InvalidRequest(
            f"system messages must have at most {MAX_CONTENT} characters in all", field="messages"
        )
    if not said or said[-1][1].role != "user":
        raise InvalidRequest("the last of messages must be the user's", field="messages")
    number, question = said[-1]
    if not question.content.strip():
        raise InvalidRequest("the user's message must not be blank", field=f"messages[{number}].content")
    return prompt or None, tuple(message for _, message in said)
