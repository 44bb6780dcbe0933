"""Saves the text of a running answer every 0.8 s, counted from the end of the last save."""

import asyncio
from collections.abc import Callable

from functions.chat_stream.records import StartedTurn
from functions.chat_stream.store import TurnStore
from shared.errors import ChatError
from shared.logs import logger

# With this interval a stop request takes effect within a second, and at most the text of a second is lost.
_INTERVAL_SECONDS = 0.8


class Checkpoints:
    """Saves in a separate task, so that sending tokens never waits for the database.

    Each checkpoint also renews the turn's lease and passes the turn's state to `on_state`: "running",
    "cancel" if the user asked the turn to stop, the final status if another process settled the turn, or None
    if the database has no such turn. For a stateless turn only the lease is renewed. An error is only logged:
    the next checkpoint saves the whole text again. `model` is the `provider/model` that answers.
    """

    def __init__(
        self,
        store: TurnStore,
        started: StartedTurn,
        text: list[str],
        *,
        model: str,
        on_state: Callable[[str | None], None],
    ) -> None:
        self._store = store
        self._started = started
        self._text = text
        self._model = model
        self._on_state = on_state
        self._saved_piece_count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sets the timer for the next checkpoint. A turn shorter than 0.8 s has no checkpoint."""
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL_SECONDS, self._start_save)

    def stop(self) -> None:
        """Starts no more checkpoints. One that is running continues."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The task of the last checkpoint, also if it has ended. Empty if there was none."""
        return [] if self._task is None else [self._task]

    def _start_save(self) -> None:
        self._task = asyncio.create_task(self._save())

    async def _save(self) -> None:
        piece_count = 0 if self._started.conversation_id is None else len(self._text)
        text = "".join(self._text) if piece_count > self._saved_piece_count else None
        try:
            state = await self._store.checkpoint(self._started, text, self._model)
        except ChatError as error:
            logger.warning("checkpoint failed", code=error.code)
        except Exception:
            logger.exception("checkpoint failed")
        else:
            self._saved_piece_count = piece_count
            self._on_state(state)
        if self._timer is not None:
            self.start()
