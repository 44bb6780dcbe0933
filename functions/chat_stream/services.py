"""The objects that all requests share. `app.py` creates them once."""

from typing import TYPE_CHECKING

from msgspec import Struct

from functions.chat_stream.authentication import Authentication
from functions.chat_stream.background_tasks import BackgroundTasks
from functions.chat_stream.model_choice import ModelChoice
from functions.chat_stream.store import BestEffortStore, TurnStore
from shared.llm.client import ModelClient
from shared.settings import Settings

if TYPE_CHECKING:  # imported only if tracing is on
    from shared.tracing import Tracer


class ChatServices(Struct, frozen=True, kw_only=True):
    """`best_effort_store` is for dialects whose answers continue if they cannot be stored."""

    settings: Settings
    system_prompt: str
    authentication: Authentication
    model_choice: ModelChoice
    store: TurnStore
    best_effort_store: BestEffortStore
    model_client: ModelClient
    background: BackgroundTasks
    tracer: "Tracer | None" = None
