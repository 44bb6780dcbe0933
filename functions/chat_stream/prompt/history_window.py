"""Chooses the messages that the model gets."""

from functions.chat_stream.request import TurnRequest
from shared.llm.wire_format import ChatMessage


def history_window(
    request: TurnRequest, stored: tuple[ChatMessage, ...], limit: int
) -> tuple[ChatMessage, ...]:
    """The messages for the model, the user's question last.

    A stored turn has them from the database (`stored`), where `limit` was applied. A stateless turn uses
    what the client sent. A turn that could not be stored uses the last `limit` messages that the client sent.
    """
    if stored:
        return stored
    return request.messages if request.conversation is None else request.messages[-limit:]
