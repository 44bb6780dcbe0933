"""The time limits of a turn, and the timer that ends an answer when the model sends nothing."""

import asyncio
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from shared.asgi import Scope
from shared.events import Failed, Finished
from shared.settings import Settings

# If no model answers, the client gets an error within 3 s. 0.1 s of that is for the network.
_RESPONSE_SECONDS = 2.9
# The last seconds of a function's time are kept for saving the answer.
SAVING_SECONDS = 5.0


class Timeouts(Struct, frozen=True, kw_only=True):
    """The limits of one turn. Durations are in seconds; moments are in the event loop's time.

    `arrived_at`: when the request arrived.
    `start_until`: when a provider must have accepted the request, fallbacks included (LLM_START_TIMEOUT).
    `first_token`: the longest wait for the first content after the request to the provider. `idle`: between
    two pieces of content.
    `deadline`: when the function's time is over; None outside of Lambda.
    `waited`: the seconds that the request waited for the end of a stopped answer.
    """

    arrived_at: float
    start_until: float
    first_token: float
    idle: float
    deadline: float | None = None
    waited: float = 0.0

    @classmethod
    def from_scope(cls, settings: Settings, scope: Scope) -> "Timeouts":
        """The limits of a request that arrives now."""
        now = asyncio.get_running_loop().time()
        context = scope.get("aws.context")
        return cls(
            arrived_at=now,
            start_until=now + settings.start_timeout,
            first_token=settings.first_token_timeout,
            idle=settings.idle_timeout,
            deadline=now + context.get_remaining_time_in_millis() / 1000 if context else None,
        )

    @property
    def read_deadline(self) -> float:
        """When reading must stop, so that 5 s are left for saving. Infinity without a deadline."""
        return float("inf") if self.deadline is None else self.deadline - SAVING_SECONDS

    def seconds_to_respond(self) -> float:
        """The seconds until the client must have a response; at least 0.05."""
        respond_until = self.arrived_at + self.waited + _RESPONSE_SECONDS
        return max(0.05, respond_until - asyncio.get_running_loop().time())

    def after_wait(self, seconds: float) -> "Timeouts":
        """The limits of a request that has waited for the end of a stopped answer. The model gets the same
        time to start as without this wait."""
        return replace(self, waited=self.waited + seconds, start_until=self.start_until + seconds)


class SilenceTimer:
    """Calls `stop` if the model sends no content for too long, or at `read_deadline`."""

    def __init__(self, timeouts: Timeouts, stop: Callable[[Finished | Failed], None]) -> None:
        self.first_token_at: float | None = None
        self._timeouts = timeouts
        self._stop = stop
        self._content_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self, asked_at: float) -> None:
        """`asked_at` is when the provider was asked."""
        self._content_at = asked_at
        self._check()

    def content_arrived(self) -> None:
        """Records the time of new content. Only the first content sets the timer again; later the running
        timer reads the recorded time, which keeps this call cheap."""
        self._content_at = asyncio.get_running_loop().time()
        if self.first_token_at is None:
            self.first_token_at = self._content_at
            self.cancel()
            self._check()  # `idle` may end earlier than the timer that was set for `first_token`

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _check(self) -> None:
        """Stops the answer if a limit is reached, else sets the timer to the next limit."""
        loop = asyncio.get_running_loop()
        wait = self._timeouts.first_token if self.first_token_at is None else self._timeouts.idle
        silence_limit_at = self._content_at + wait
        if loop.time() >= self._timeouts.read_deadline:
            self._stop(Finished("deadline"))
        elif loop.time() >= silence_limit_at:
            self._stop(Failed("upstream_timeout", "the model sent nothing for too long", retryable=True))
        else:
            self._handle = loop.call_at(min(silence_limit_at, self._timeouts.read_deadline), self._check)
