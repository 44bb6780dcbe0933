"""Replays a stored answer, also one that is still being written."""

import asyncio
from uuid import UUID

from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.records import StoredAnswer
from functions.chat_stream.store import TurnStore
from functions.chat_stream.timeouts import Timeouts
from shared.events import Event, Failed, Finished, FinishReason, Started, TextDelta, Usage
from shared.logs import logger

# A checkpoint is saved every 0.8 s. Reading twice as often shows new text soon.
_POLL_SECONDS = 0.4


class AnswerReplay:
    """Puts the stored text after the first `offset` characters into `events`, until the answer ends.

    `stored_answer` is the answer as the caller has just read it. Any number of replays may read one answer,
    each with one small query every 0.4 s.
    """

    def __init__(
        self,
        store: TurnStore,
        user_id: UUID,
        answer_id: UUID,
        stored_answer: StoredAnswer,
        *,
        offset: int,
        timeouts: Timeouts,
    ) -> None:
        self.events = EventQueue()
        self._store = store
        self._user_id = user_id
        self._answer_id = answer_id
        self._stored_answer = stored_answer
        self._offset = offset
        self._timeouts = timeouts

    async def run(self) -> None:
        """Never raises. Ends early if the client has disconnected, 5 s before the function's deadline, or if
        the answer cannot be read. The stream then has no last event. Clients of the native dialect resume it;
        a client of another dialect may not notice."""
        self.events.put([Started(str(self._answer_id))])
        try:
            await self._poll()
        except Exception:
            logger.exception("replaying an answer failed")
        self.events.close()
        logger.info("answer replayed", message_id=str(self._answer_id), client_left=self.events.abandoned)

    async def _poll(self) -> None:
        stored, offset = self._stored_answer, self._offset
        while not self.events.abandoned:
            if stored.text:
                offset += len(stored.text)
                self.events.put([TextDelta(stored.text)])
            if stored.status != "streaming":
                self.events.put(_last_events(stored))
                return
            if asyncio.get_running_loop().time() >= self._timeouts.read_deadline:
                return
            await asyncio.sleep(_POLL_SECONDS)
            stored = await self._store.read(self._user_id, self._answer_id, offset)


def _last_events(stored: StoredAnswer) -> list[Event]:
    usage = stored.usage.as_event() if stored.usage else Usage(0, 0, estimated=True)
    reason: FinishReason | None = stored.metadata.get("finish_reason")
    if reason is not None:
        metadata = stored.metadata
        return [usage, Finished(reason, metadata.get("limit"), metadata.get("model"))]
    # An answer that ended with an error has a code. An answer whose process died has neither.
    code = stored.metadata.get("code", "interrupted")
    return [usage, Failed(code, "the answer was interrupted", retryable=True)]
