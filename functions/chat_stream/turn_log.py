"""Writes the log line of a turn, with its metrics, and sends its trace if tracing is on.

Logs only ids, counts and times, never the text of a message.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from functions.chat_stream.records import StartedTurn, UsageRow, final_status
from shared import costs, metrics
from shared.errors import ChatError
from shared.events import Failed, Finished
from shared.logs import logger

if TYPE_CHECKING:  # imported only if tracing is on
    from shared.tracing import Tracer


class TurnLog:
    """The log line of one request. The first call of a `write_` method writes it.

    A request that replays an answer writes none. `route` is the log field `dialect`. `arrived_at` is in the
    event loop's time. `active_turns` returns the number of turns that this process runs.
    """

    def __init__(
        self, route: str, arrived_at: float, *, active_turns: Callable[[], int], tracer: "Tracer | None"
    ) -> None:
        self._arrived_at = arrived_at
        self._active_turns = active_turns
        self._trace = tracer.trace() if tracer else None
        self._fields: dict[str, Any] = {"dialect": route}
        self._waits: dict[str, tuple[float, float]] = {}
        self._written = False

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Measures how long the turn waits for `begin`, `model` or `finish`."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        try:
            yield
        finally:
            self._waits[step] = (started_at, loop.time())

    def set_turn(self, started: StartedTurn) -> None:
        """Adds the ids of the started turn to the line."""
        self._fields["conversation_id"] = started.conversation_id and str(started.conversation_id)
        self._fields["message_id"] = str(started.answer_id)

    def set_model(self, model: str, models: Sequence[str]) -> None:
        """Adds the number of models that were tried before `model`. `models` are all models in order."""
        self._fields["fallbacks"] = models.index(model) or None

    def write_refused(self, error: ChatError) -> None:
        """Writes the line of a refused request, or of a turn that failed to start."""
        self._write("refused", code=error.code)

    def write_no_answer(self, error: ChatError, failed_attempts: Sequence[UsageRow]) -> None:
        """Writes the line of a turn that no model answered."""
        self._write("error", code=error.code, **_usage_fields(failed_attempts))

    def write_settled(
        self, end: Finished | Failed, row: UsageRow, failed_attempts: Sequence[UsageRow]
    ) -> None:
        """Writes the line of an answered turn. `failed_attempts` are usage rows of earlier attempts."""
        usage = _usage_fields([row, *failed_attempts])
        usage |= {"ttft_ms": row.ttft_ms, "active_streams": self._active_turns()}
        if isinstance(end, Finished):
            self._write(final_status(end), finish_reason=end.reason, **usage)
        else:
            upstream_errors = 1 if end.code.startswith("upstream_") else None
            self._write(final_status(end), code=end.code, upstream_errors=upstream_errors, **usage)

    def write_fault(self) -> None:
        """Writes the line of a turn that could not be settled because of a bug."""
        self._write("error", code="internal")

    def _write(self, status: str, **fields: Any) -> None:
        if self._written:
            return
        self._written = True
        now = asyncio.get_running_loop().time()
        database = [self._waits[step] for step in ("begin", "finish") if step in self._waits]
        line = self._fields | {
            "status": status,
            "turns": 1,
            "duration_ms": round((now - self._arrived_at) * 1000),
            "database_ms": round(sum(end - start for start, end in database) * 1000) if database else None,
            "cancels": 1 if status == "cancelled" else None,
            **fields,
            **metrics.error_metric(fields.get("code", "")),
        }
        line = {name: value for name, value in line.items() if value is not None}
        # Each value of a metric's dimension costs money. Models that are not in the table of models are not
        # used as a dimension, because clients can name any number of them.
        is_known_model = costs.is_listed(line.get("provider", ""), line.get("model", ""))
        logger.info(
            "turn",
            fields=metrics.with_metrics(without_dimensions=() if is_known_model else ("model",), **line),
        )
        if self._trace is not None:
            self._trace.send(line, self._arrived_at, self._waits)


def _usage_fields(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """The log fields of usage rows: the model and tokens of the first row, and the cost of all rows."""
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
