"""One turn, from the model's first event to the answer's last word in the database.

It collects the text, watches the clocks, saves as it goes, and settles: exactly one `Finished` or
`Failed` comes out, and only after answer, tokens and cost are committed. It does not know who
listens, or in which format; whoever does reads the `Outbox`, at a pace of its own.
"""

import asyncio

from msgspec import Struct, structs

from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.records import Settlement, StartedTurn, Status
from functions.chat_stream.store import TurnStore
from functions.chat_stream.turn_log import TurnLog
from functions.chat_stream.usage import UsageRow
from shared import costs
from shared.errors import ChatError
from shared.events import Event, Failed, Finished, ReasoningDelta, Started, TextDelta, Usage
from shared.llm.client import ModelAnswer
from shared.logs import logger

# The last seconds of a function's time are for saving.
_SAVING_SECONDS = 5.0
# Often enough that a stop is seen, and all but the last words are safe, within a second.
_CHECKPOINT_SECONDS = 0.8
# What the table takes, and more than the longest answer of any model has.
_MAX_ANSWER_CHARACTERS = 1_000_000


class Clocks(Struct, frozen=True, kw_only=True):
    """How long a turn waits for content, in seconds; when its request arrived and when the function's
    time is over (if it ever is), in the loop's time."""

    arrived_at: float
    first_token: float
    idle: float
    deadline: float | None = None


class Turn:
    """Run it once. `prompt_tokens` is an estimate, for a provider that never says. `spent` is what
    attempts cost that came to nothing."""

    def __init__(
        self,
        answer: ModelAnswer,
        *,
        begun: StartedTurn,
        prompt_tokens: int,
        spent: list[UsageRow],
        clocks: Clocks,
        store: TurnStore,
        turn_log: TurnLog,
    ) -> None:
        self.event_queue = EventQueue()
        self._answer = answer
        self._begun = begun
        self._prompt_tokens = prompt_tokens
        self._spent = spent
        self._clocks = clocks
        self._store = store
        self._journal = turn_log
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._characters = 0
        self._usage: Usage | None = None
        self._end: Finished | Failed | None = None
        self._first_token_at: float | None = None
        self._content_at = 0.0
        self._interrupt: asyncio.Timeout | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._save_alarm: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None
        self._saved_pieces = 0

    async def run(self) -> None:
        """Never raises: what goes wrong becomes the answer's end."""
        self.event_queue.put([Started(str(self._begun.answer_id))])
        self._save_in_a_while()
        try:
            await self._read()
        except Exception:
            logger.exception("turn failed")
            self._end_with(Failed("internal", "the turn failed", retryable=True))
        self._stop_saving()
        # At once, as an answer that was broken off costs until its connection is closed; and not
        # waited for, as the client is waiting.
        closing = asyncio.create_task(self._answer.aclose())
        try:
            self.event_queue.put(await self._settle())
        except Exception:
            logger.exception("turn could not be settled")
            self._journal.lost()
            self.event_queue.put([Failed("internal", "the turn failed", retryable=True)])
        self.event_queue.close()
        left = (closing, self._saving) if self._saving else (closing,)
        for failed in await asyncio.gather(*left, return_exceptions=True):
            if isinstance(failed, Exception):
                logger.error("turn left something behind", exc_info=failed)

    def stop(self, end: Finished | Failed) -> None:
        """Ends the answer here, with what has come so far. The first word on how it ends stands."""
        if self._end is None:
            self._end = end
            if self._interrupt is not None:
                self._interrupt.reschedule(0)

    async def _read(self) -> None:
        if self._end is not None:
            return
        self._content_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._interrupt:
                self._watch()
                async for events in self._answer:
                    self._take(events)
        except TimeoutError:
            if self._end is None:
                raise
        finally:
            self._interrupt = None
            if self._alarm is not None:
                self._alarm.cancel()

    def _watch(self) -> None:
        """Looks at the clocks, and wakes again when the next of them could strike. Content moves the
        idle clock without touching the timer: most tokens cost nothing here."""
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            self._alarm.cancel()
        waiting_for_first = self._first_token_at is None
        patience = self._clocks.first_token if waiting_for_first else self._clocks.idle
        silent_at = self._content_at + patience
        deadline = (self._clocks.deadline or float("inf")) - _SAVING_SECONDS
        if loop.time() >= deadline:
            self.stop(Finished("deadline"))
        elif loop.time() >= silent_at:
            self.stop(Failed("upstream_timeout", "the model stopped sending", retryable=True))
        else:
            self._alarm = loop.call_at(min(silent_at, deadline), self._watch)

    def _take(self, events: list[Event]) -> None:
        passed_on: list[Event] = []
        for event in events:
            match event:
                case TextDelta():
                    room = _MAX_ANSWER_CHARACTERS - self._characters
                    if len(event.text) > room:
                        event = TextDelta(event.text[:room])  # noqa: PLW2901
                    self._text.append(event.text)
                    self._characters += len(event.text)
                    passed_on.append(event)
                case ReasoningDelta():
                    self._thinking.append(event.text)
                    passed_on.append(event)
                case Usage():
                    self._usage = event
                case Finished() | Failed():
                    self._end_with(event)
        if passed_on:
            self._content_at = asyncio.get_running_loop().time()
            if self._first_token_at is None:
                self._first_token_at = self._content_at
                self._watch()  # from here another clock runs, which may strike sooner
            self.event_queue.put(passed_on)
            if self._characters >= _MAX_ANSWER_CHARACTERS:
                self.stop(Finished("length"))

    def _end_with(self, end: Finished | Failed) -> None:
        if self._end is None:
            self._end = end

    def _save_in_a_while(self) -> None:
        """Beside the stream, never in its way; a turn that is over before has nothing of it."""

        def save() -> None:
            self._saving = asyncio.create_task(self._save())

        self._save_alarm = asyncio.get_running_loop().call_later(_CHECKPOINT_SECONDS, save)

    def _stop_saving(self) -> None:
        if self._save_alarm is not None:
            self._save_alarm.cancel()
        self._save_alarm = None

    async def _save(self) -> None:
        """Renews the lease, too, and brings the wish to stop. What fails is made up for by the next."""
        pieces = 0 if self._begun.conversation_id is None else len(self._text)
        text = "".join(self._text) if pieces > self._saved_pieces else None
        try:
            state = await self._store.checkpoint(self._begun, text)
        except ChatError as error:
            logger.warning("checkpoint failed", code=error.code)
        except Exception:
            logger.exception("checkpoint failed")
        else:
            self._saved_pieces = pieces
            if state == "cancel":
                self.stop(Finished("cancelled"))
            elif state != "running":
                self.stop(_SETTLED_BY_ANOTHER)
        if self._save_alarm is not None:
            self._save_in_a_while()

    async def _settle(self) -> list[Event]:
        """Saves, and says how the answer ended: its usage and its last event."""
        end = self._end or Failed("upstream_truncated", "the model's answer broke off", retryable=True)
        text = "".join(self._text)
        usage = self._usage_of(text)
        status = _status_of(end)
        first, now = self._first_token_at, asyncio.get_running_loop().time()
        row = UsageRow.of(
            self._answer.target,
            usage,
            status=status,
            duration=now - self._clocks.arrived_at,
            ttft=None if first is None else first - self._clocks.arrived_at,
        )
        settlement = Settlement(
            user_id=self._begun.user_id,
            answer_id=self._begun.answer_id,
            status=status,
            content=text,
            token_count=usage.output,
            metadata={
                "model": self._answer.target.name,
                "cost_usd": row.cost_usd,
                **({"finish_reason": end.reason} if isinstance(end, Finished) else {"code": end.code}),
            },
            usage=[*self._spent, row],
        )
        try:
            with self._journal.waiting("finish"):
                kept = bool(text) and self._begun.conversation_id is not None
                stands = await self._store.finish(settlement, self._clocks.deadline, patient=kept)
            if stands != status:
                end = _SETTLED_BY_ANOTHER
        except ChatError as error:
            end = Failed(error.code, error.message, retryable=True)
        except Exception:
            logger.exception("answer could not be saved")
            end = Failed("internal", "the answer could not be saved", retryable=True)
        self._journal.settled(end, row, self._spent)
        return [usage, end]

    def _usage_of(self, text: str) -> Usage:
        """What the provider said, and for what it did not say, an estimate from the text that came."""
        said = self._usage
        if said is not None and not said.estimated:
            return said
        came = costs.estimate_tokens(text, "".join(self._thinking))
        said = said or Usage(0, 0, estimated=True)
        return structs.replace(said, input=said.input or self._prompt_tokens, output=max(said.output, came))


_SETTLED_BY_ANOTHER = Failed("conflict", "this turn was settled by another process", retryable=True)


def _status_of(end: Finished | Failed) -> Status:
    if isinstance(end, Failed):
        return "error"
    if end.reason == "cancelled":
        return "cancelled"
    return "interrupted" if end.reason == "deadline" else "complete"
