"""The system prompt of a turn: the client's own, or the project's."""

from pathlib import Path

from functions.chat_stream.request import TurnRequest
from shared.settings import Settings


def default_system_prompt(settings: Settings) -> str:
    """The content of SYSTEM_PROMPT_FILE, or of `system_prompt.md`. Read once, when the app starts."""
    return settings.system_prompt or Path(__file__).with_suffix(".md").read_text("utf-8").strip()


def system_prompt(request: TurnRequest, default: str) -> str:
    """The client's system prompt; "" if the client wants none; `default` if the client sent nothing."""
    return default if request.system is None else request.system
