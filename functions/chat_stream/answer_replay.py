"""Follows an answer that another request is writing, or has written, by what is stored of it."""

import asyncio
from uuid import UUID

from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.records import StoredAnswer
from functions.chat_stream.store import TurnStore
from shared.events import Event, Failed, Finished, FinishReason, Started, TextDelta, Usage
from shared.logs import logger

# The writer saves about once in a second; looking twice as often finds it soon.
_LOOK_SECONDS = 0.4
_SAVING_SECONDS = 5.0


class AnswerReplay:
    """Puts what an answer has beyond `offset` characters into the outbox, until its end.

    `first` is what was read already. Any number of followers may read one answer, each at the cost
    of a small query now and then. `deadline` is the end of the function's time, in the loop's.
    """

    def __init__(
        self,
        store: TurnStore,
        *,
        user_id: UUID,
        answer_id: UUID,
        first: StoredAnswer,
        offset: int,
        deadline: float | None,
    ) -> None:
        self.event_queue = EventQueue()
        self._store = store
        self._user_id = user_id
        self.answer_id = answer_id
        self.first = first
        self.offset = offset
        self._deadline = (deadline or float("inf")) - _SAVING_SECONDS

    async def run(self) -> None:
        """Never raises. Ends early when the outbox is abandoned, or when the answer cannot be read any
        more: that is no end of the answer, so the stream has none, and the client comes again."""
        self.event_queue.put([Started(str(self.answer_id))])
        try:
            await self._follow()
        except Exception:
            logger.exception("following an answer failed")
        self.event_queue.close()
        # No turn of its own: it says who came back, and how often.
        logger.info("answer followed", message_id=str(self.answer_id), left=self.event_queue.abandoned)

    async def _follow(self) -> None:
        stored = self.first
        while not self.event_queue.abandoned:
            if stored.text:
                self.offset += len(stored.text)
                self.event_queue.put([TextDelta(stored.text)])
            if stored.status != "streaming":
                self.event_queue.put(_end_of(stored))
                return
            if asyncio.get_running_loop().time() >= self._deadline:
                # The end of this connection, not of the answer: the client comes again with its last id.
                return
            await asyncio.sleep(_LOOK_SECONDS)
            stored = await self._store.read(self._user_id, self.answer_id, self.offset)


def _end_of(stored: StoredAnswer) -> list[Event]:
    usage: list[Event] = [stored.usage.as_event()] if stored.usage else [Usage(0, 0, estimated=True)]
    reason: FinishReason | None = stored.metadata.get("finish_reason")
    if reason is not None:
        return [*usage, Finished(reason)]
    # Whoever wrote it died, and left no word on how it ended.
    code = stored.metadata.get("code", "interrupted")
    return [*usage, Failed(code, "the answer broke off", retryable=True)]
