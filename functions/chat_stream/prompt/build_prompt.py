"""Builds the request for the model. To add a step: one file in this folder, and one call here.

The system prompt is chosen earlier, in `start_turn.py`, because its tokens count for the budget.
"""

from functions.chat_stream.prompt.history_window import history_window
from functions.chat_stream.records import HistoryLimits, StartedTurn
from functions.chat_stream.request import TurnRequest
from shared.llm.wire_format import ChatRequest

DEFAULT_MAX_TOKENS = 4096
_DEFAULT_TEMPERATURE = 0.7


def build_prompt(
    request: TurnRequest, started: StartedTurn, system: str, limits: HistoryLimits
) -> ChatRequest:
    """The request for the model. `system` is the system prompt."""
    return ChatRequest(
        system=system or None,
        messages=history_window(request, started, limits, system),
        max_tokens=started.max_tokens or request.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=_DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
    )
