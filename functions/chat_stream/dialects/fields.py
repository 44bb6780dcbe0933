"""The fields that formats have in common, with their bounds."""

from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta

from functions.chat_stream.request import ConversationRef

# Of a format whose clients send the conversation with every question.
MAX_CONVERSATION_BYTES = 1024 * 1024
MAX_CONTENT = 32_000  # characters

Content: TypeAlias = Annotated[str, Meta(max_length=MAX_CONTENT)]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Temperature: TypeAlias = Annotated[float, Meta(ge=0, le=2)]
MaxTokens: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
# A client's own name for something: whatever it likes.
Name: TypeAlias = Annotated[str, Meta(max_length=200)]


def conversation_ref(name: str, *, replaces: str | None = None) -> ConversationRef:
    """The conversation of a name that the client gave it, or whose id it is."""
    try:
        conversation_id = UUID(name)
    except ValueError:
        conversation_id = None
    return ConversationRef(conversation_id, name, replaces)
