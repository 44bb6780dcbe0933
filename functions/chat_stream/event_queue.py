"""What waits between a turn and the one who writes it out.

The turn puts events in and never waits; the writer takes all there are in one go. A client that
reads slowly makes the lists longer and the writes fewer, and costs no more than the answer's size.
"""

import asyncio

from shared.events import Event


class EventQueue:
    """One turn, one reader."""

    def __init__(self) -> None:
        self.abandoned = False
        self._events: list[Event] = []
        self._closed = False
        self._nudged = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, events: list[Event]) -> None:
        if not self._closed:
            self._events.extend(events)
            self._wake()

    def close(self) -> None:
        """No more comes in. What is inside can still be taken."""
        self._closed = True
        self._wake()

    @property
    def spent(self) -> bool:
        """Whether `take` has given everything there will ever be."""
        return self._closed and not self._events

    def abandon(self) -> None:
        """The reader is gone: keep nothing for it."""
        self.abandoned = True
        self.close()
        self._events.clear()

    def nudge(self) -> None:
        """Makes a waiting `take` return with nothing: time for a heartbeat."""
        self._nudged = True
        self._wake()

    async def take(self) -> list[Event] | None:
        """All events there are, waiting for the first; [] after a nudge; None when no more will come."""
        while not self._events:
            if self._closed:
                return None
            if self._nudged:
                self._nudged = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._nudged = False
        events, self._events = self._events, []
        return events

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
