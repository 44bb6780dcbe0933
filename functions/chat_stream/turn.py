"""A running turn: reads the model's answer and commits the answer and its cost.

A turn does not depend on the client or its dialect. The response reads the events from the queue `events`, at
the speed of the client. The last event is exactly one `Finished` or `Failed`. `Finished` is sent only after
answer, tokens and cost are committed (with `BestEffortStore`: after the attempt). If they cannot be
committed, the last event is `Failed`.
"""

import asyncio

from msgspec import structs

from functions.chat_stream.answer_bound import AnswerBound
from functions.chat_stream.checkpoints import Checkpoints
from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.model_start import StoppedAnswer
from functions.chat_stream.records import (
    Settlement,
    StartedTurn,
    Status,
    UsageRow,
    final_status,
    refusal_mark,
)
from functions.chat_stream.store import TurnStore
from functions.chat_stream.timeouts import SilenceTimer, Timeouts
from functions.chat_stream.turn_log import TurnLog
from shared import costs
from shared.errors import ChatError
from shared.events import Event, Failed, Finished, ReasoningDelta, Started, TextDelta, Usage
from shared.llm.model_answer import ModelAnswer
from shared.logs import logger

# The limit of the column `messages.content`, in characters. Longer answers are cut and end with `length`.
_MAX_ANSWER_CHARACTERS = 1_000_000

_INTERNAL_ERROR = Failed("internal", "internal error in the turn", retryable=True)
_SETTLED_BY_ANOTHER_PROCESS = Failed("conflict", "this turn was settled by another process", retryable=True)


class Turn:
    """Reads one answer of a model and settles it. Call `run` once.

    `failed_attempts` are the usage rows of earlier attempts that gave no answer. The tokens of the prompt are
    estimated if the provider does not report them.
    """

    def __init__(
        self,
        started: StartedTurn,
        answer: ModelAnswer | StoppedAnswer,
        *,
        failed_attempts: list[UsageRow],
        timeouts: Timeouts,
        store: TurnStore,
        log: TurnLog,
    ) -> None:
        self.events = EventQueue()
        self._started = started
        self._answer = answer
        self._failed_attempts = failed_attempts
        self._timeouts = timeouts
        self._store = store
        self._log = log
        self._text_pieces: list[str] = []
        self._reasoning_pieces: list[str] = []
        self._characters = 0
        self._usage: Usage | None = None
        self._end: Finished | Failed | None = None
        # Only where a budget is set.
        self._bound = None if started.max_tokens is None else AnswerBound(started.max_tokens)
        self._read_timeout: asyncio.Timeout | None = None
        self._silence_timer = SilenceTimer(timeouts, self.stop)
        # Reads `_text_pieces` while `_handle_events` appends to it.
        self._checkpoints = Checkpoints(
            store, started, self._text_pieces, model=answer.target.name, on_state=self._on_checkpoint
        )

    async def run(self) -> None:
        """Reads the answer, saves checkpoints and settles the turn. Never raises: an error becomes the last
        event."""
        self.events.put([Started(str(self._started.answer_id))])
        self._checkpoints.start()
        try:
            await self._read()
        except Exception:
            logger.exception("turn failed")
            self._end = self._end or _INTERNAL_ERROR
        self._checkpoints.stop()
        # The connection to the model is closed at once, because tokens cost money until then. The closing is
        # awaited after the last event, so that the client does not wait for it.
        closing = asyncio.create_task(self._answer.aclose())
        try:
            self.events.put(await self._settle())
        except Exception:
            logger.exception("turn could not be settled")
            self._log.write_fault()
            self.events.put([_INTERNAL_ERROR])
        self.events.close()
        for result in await asyncio.gather(closing, *self._checkpoints.tasks, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("closing the model's connection or a checkpoint failed", exc_info=result)

    def stop(self, end: Finished | Failed) -> None:
        """Ends the answer with the text received so far. If it is called more than once, the first `end`
        counts.

        Called by the silence timer, by a checkpoint, at the length limit, and when the process ends.
        """
        if self._end is None:
            self._end = end
            if self._read_timeout is not None:
                self._read_timeout.reschedule(0)  # a moment in the past: `_read` stops at once

    def cancel(self) -> None:
        """Ends the answer as cancelled, with the text received so far."""
        self.stop(Finished("cancelled"))

    async def _read(self) -> None:
        if self._end is not None:
            return  # stopped before the first read
        try:
            async with asyncio.timeout(None) as self._read_timeout:
                self._silence_timer.start(self._answer.asked_at)
                async for events in self._answer:
                    if self._bound is None:
                        self._handle_events(events)
                    else:
                        self._handle_events(self._bound.limit(events))
                        if self._bound.is_exceeded:
                            self.stop(Finished("length"))
        except TimeoutError:
            if self._end is None:  # otherwise `stop` caused it
                raise
        finally:
            self._read_timeout = None
            self._silence_timer.cancel()

    def _handle_events(self, events: list[Event]) -> None:
        """Keeps the text and the usage of one read, and puts the text into the queue."""
        content: list[Event] = []
        for event in events:
            match event:
                case TextDelta():
                    remaining = _MAX_ANSWER_CHARACTERS - self._characters
                    if len(event.text) > remaining:
                        event = TextDelta(event.text[:remaining])  # noqa: PLW2901
                    self._text_pieces.append(event.text)
                    self._characters += len(event.text)
                    content.append(event)
                case ReasoningDelta():
                    self._reasoning_pieces.append(event.text)
                    content.append(event)
                case Usage():
                    self._usage = event
                case Finished() | Failed():
                    self._end = self._end or event
        if content:
            self._silence_timer.content_arrived()
            self.events.put(content)
            if self._characters >= _MAX_ANSWER_CHARACTERS:
                self.stop(Finished("length"))

    def _on_checkpoint(self, state: str | None) -> None:
        if state == "cancel":
            self.cancel()
        elif state != "running":  # settled by another process, or not in the database
            self.stop(_SETTLED_BY_ANOTHER_PROCESS)

    async def _settle(self) -> list[Event]:
        """Commits the answer, its tokens, its cost and its status. Returns the last two events: the usage,
        and `Finished` or `Failed`."""
        end = self._end or Failed("upstream_truncated", "the model's answer ended early", retryable=True)
        if self._started.is_budget_limited and end == Finished("length"):
            end = Finished("length", limit="budget")
        text = "".join(self._text_pieces)
        usage = self._final_usage(text)
        row = self._usage_row(usage, final_status(end))
        end = await self._commit(self._settlement(end, text, usage, row), end)
        self._log.write_settled(end, row, self._failed_attempts)
        return [usage, end]

    def _settlement(self, end: Finished | Failed, text: str, usage: Usage, row: UsageRow) -> Settlement:
        return Settlement(
            user_id=self._started.user_id,
            answer_id=self._started.answer_id,
            status=final_status(end),
            content=text,
            token_count=usage.output,
            metadata={
                "model": self._answer.target.name,
                "cost_usd": row.cost_usd,
                **_end_metadata(end),
                **refusal_mark(end.reason if isinstance(end, Finished) else end.code),
            },
            usage=[*self._failed_attempts, row],
        )

    async def _commit(self, settlement: Settlement, end: Finished | Failed) -> Finished | Failed:
        """Returns `end`, or a `Failed` if the settlement could not be committed."""
        wait_for_failover = bool(settlement.content) and self._started.conversation_id is not None
        try:
            with self._log.measure("finish"):
                status = await self._store.finish(
                    settlement, self._timeouts.deadline, wait_for_failover=wait_for_failover
                )
        except ChatError as error:
            return Failed(error.code, error.message, retryable=True)
        except Exception:
            logger.exception("answer could not be saved")
            return Failed("internal", "the answer could not be saved", retryable=True)
        return end if status == settlement.status else _SETTLED_BY_ANOTHER_PROCESS

    def _final_usage(self, text: str) -> Usage:
        """The usage that the provider reported. If the provider reported none, or no final one, the larger of
        that and an estimate from the text."""
        counted = self._usage
        if counted is not None and not counted.estimated:
            return counted
        counted = counted or Usage(0, 0, estimated=True)
        estimated_output = costs.estimate_tokens(text, "".join(self._reasoning_pieces))
        if self._started.max_tokens is not None:
            # The model had this limit, so if its text has more bytes, its tokens are long.
            estimated_output = min(estimated_output, self._started.max_tokens)
        return structs.replace(
            counted,
            input=counted.input or self._answer.chat_request.estimated_tokens(),
            output=max(counted.output, estimated_output),
        )

    def _usage_row(self, usage: Usage, status: Status) -> UsageRow:
        arrived_at, first_token_at = self._timeouts.arrived_at, self._silence_timer.first_token_at
        return UsageRow.from_usage(
            self._answer.target,
            usage,
            status=status,
            duration=asyncio.get_running_loop().time() - arrived_at,
            ttft=None if first_token_at is None else first_token_at - arrived_at,
        )


def _end_metadata(end: Finished | Failed) -> dict[str, str]:
    """The end of an answer, as it is stored with it. A replay reads it."""
    if isinstance(end, Failed):
        return {"code": end.code}
    return {"finish_reason": end.reason, **({"limit": end.limit} if end.limit else {})}
