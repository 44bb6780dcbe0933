"""Request fields that several dialects share, with their limits."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from functions.chat_stream.request import ConversationRef
from shared.ids import parse_uuid

MAX_CONTENT = 32_000  # characters

Content: TypeAlias = Annotated[str, Meta(max_length=MAX_CONTENT)]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Temperature: TypeAlias = Annotated[float, Meta(ge=0, le=2)]
MaxTokens: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
# An id that the client chooses for a conversation or a message: any text.
ExternalId: TypeAlias = Annotated[str, Meta(max_length=200)]


def conversation_ref(external_id: str, *, replaces: str | None = None) -> ConversationRef:
    """A reference to a conversation by the client's id for it, or by the conversation's own id."""
    return ConversationRef(parse_uuid(external_id), external_id, replaces)
