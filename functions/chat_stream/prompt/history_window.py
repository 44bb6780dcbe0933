"""Chooses the messages that the model gets."""

from functions.chat_stream.request import TurnRequest
from shared.llm.wire_format import ChatMessage


def history_window(
    request: TurnRequest, stored_messages: tuple[ChatMessage, ...], limit: int
) -> tuple[ChatMessage, ...]:
    """The messages for the model, the user's question last.

    For a stored turn these are `stored_messages`, which the database has limited already. For a stateless
    turn these are all messages that the client sent. For a turn that could not be stored these are the last
    `limit` messages that the client sent.
    """
    if stored_messages:
        return stored_messages
    return request.messages if request.conversation is None else request.messages[-limit:]
