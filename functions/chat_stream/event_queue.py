"""The queue between a turn, which produces events, and the response, which writes them to the client."""

import asyncio

from shared.events import Event


class EventQueue:
    """One producer, one consumer. `put` never waits. `take` returns all events that are in the queue.

    If a client reads slowly, each write contains more events. The queue holds at most the events of one
    answer.
    """

    def __init__(self) -> None:
        self.abandoned = False
        self._events: list[Event] = []
        self._closed = False
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, events: list[Event]) -> None:
        """Adds events. Does nothing once the queue is closed."""
        if not self._closed:
            self._events.extend(events)
            self._notify()

    def close(self) -> None:
        """Ends the queue. The events in it can still be taken."""
        self._closed = True
        self._notify()

    @property
    def exhausted(self) -> bool:
        """Whether the queue is closed and `take` has returned all events."""
        return self._closed and not self._events

    def abandon(self) -> None:
        """Called when the client has disconnected. Drops all events, and all that are put later."""
        self.abandoned = True
        self.close()
        self._events.clear()

    def wake(self) -> None:
        """Makes a waiting `take` return an empty list, so that the consumer can send a heartbeat."""
        self._woken = True
        self._notify()

    async def take(self) -> list[Event] | None:
        """Returns all events in the queue and waits if there are none. Returns [] after `wake`, and None when
        no more events will come."""
        while not self._events:
            if self._closed:
                return None
            if self._woken:
                self._woken = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False
        events, self._events = self._events, []
        return events

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
