"""What a request for a turn leaves behind for whoever runs this: one line in the log, which holds its
metrics, and its trace where turns are traced. Ids, counts and times; never a word of anybody's."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from functions.chat_stream.records import StartedTurn
from functions.chat_stream.usage import UsageRow
from shared import costs, metrics
from shared.errors import ChatError
from shared.events import Failed, Finished
from shared.llm.providers import ModelTarget
from shared.logs import logger

if TYPE_CHECKING:  # loaded where it is wanted
    from shared.tracing import Trace

_STATUSES = {"cancelled": "cancelled", "deadline": "interrupted"}


class TurnLog:
    """Of one request. One of `refused`, `unanswered`, `settled` and `lost` ends it: once, whoever is
    first. `active` says how many turns this process has under way."""

    def __init__(
        self, dialect: str, arrived_at: float, *, active: Callable[[], int], trace: "Trace | None" = None
    ) -> None:
        self._arrived_at = arrived_at
        self._active = active
        self._trace = trace
        self._known: dict[str, Any] = {"dialect": dialect}
        self._waits: dict[str, tuple[float, float]] = {}
        self._ended = False

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """For `begin`, `model` and `finish`: how long the turn waits for each."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._waits[what] = (began, loop.time())

    def begun(self, begun: StartedTurn) -> None:
        self._known["conversation_id"] = begun.conversation_id and str(begun.conversation_id)
        self._known["message_id"] = str(begun.answer_id)

    def answers(self, target: ModelTarget, models: Sequence[str]) -> None:
        """The model that began to answer, of those that were to be asked in their order."""
        self._known["fallbacks"] = models.index(target.name) or None

    def refused(self, error: ChatError) -> None:
        """The turn did not begin."""
        self._end("refused", code=error.code)

    def unanswered(self, error: ChatError, spent: Sequence[UsageRow]) -> None:
        """It began, and no model did."""
        self._end("error", code=error.code, **_usage(spent))

    def settled(self, end: Finished | Failed, row: UsageRow, spent: Sequence[UsageRow]) -> None:
        """A model answered, as far as it goes. `spent` is what attempts before it cost."""
        usage = _usage([row, *spent]) | {"ttft_ms": row.ttft_ms, "active_streams": self._active()}
        if isinstance(end, Finished):
            self._end(_STATUSES.get(end.reason, "complete"), finish_reason=end.reason, **usage)
        else:
            broke_off = 1 if end.code.startswith("upstream_") else None
            self._end("error", code=end.code, upstream_errors=broke_off, **usage)

    def lost(self) -> None:
        """Nobody knows how it ended: a bug of ours."""
        self._end("error", code="internal")

    def _end(self, status: str, **fields: Any) -> None:
        if self._ended:
            return
        self._ended = True
        now = asyncio.get_running_loop().time()
        database = [self._waits[what] for what in ("begin", "finish") if what in self._waits]
        line = self._known | {
            "status": status,
            "turns": 1,
            "duration_ms": _ms(now - self._arrived_at),
            "database_ms": _ms(sum(end - began for began, end in database)) if database else None,
            "cancels": 1 if status == "cancelled" else None,
            **fields,
            **metrics.fault(fields.get("code", "")),
        }
        line = {name: value for name, value in line.items() if value is not None}
        listed = costs.lookup(line.get("provider", ""), line.get("model", "")) is not None
        logger.info("turn", fields=metrics.measured(together=() if listed else ("model",), **line))
        if self._trace is not None:
            self._trace.send(line, self._arrived_at, self._waits)


def _usage(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """The first row's model and tokens, and what all of them cost."""
    if not rows:
        return {}
    row = rows[0]
    return {
        "provider": row.provider,
        "model": row.model,
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "tokens_cache_read": row.tokens_cache_read,
        "tokens_cache_write": row.tokens_cache_write,
        "tokens_reasoning": row.tokens_reasoning,
        "cost_usd": sum(float(each.cost_usd) for each in rows),
        "priced": all(each.priced for each in rows),
        "estimated": any(each.estimated for each in rows),
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
