"""Circuit breakers of the models: a model that failed several times in a row is skipped for a while.

Each process has its own state, in memory. After the pause one turn asks the model again. If the circuits of
all models are open, all are asked: an attempt that may fail is better than none.
"""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 30.0


class _Circuit(Struct):
    failures: int = 0
    # The model is skipped until this time. Starting a probe extends it by 30 s.
    open_until: float = 0.0


class CircuitBreaker:
    """`now` is wall-clock time in seconds. Names are `provider/model`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._circuits: dict[str, _Circuit] = {}

    def available(self, names: Sequence[str]) -> list[str]:
        """The names whose circuits are not open, in their order; all names if all are open."""
        if not self._circuits:
            return list(names)
        return [name for name in names if not self._is_open(name)] or list(names)

    def allow_request(self, name: str) -> bool:
        """Whether the model may be asked now. After the pause of an open circuit the first request is the
        probe: other requests are refused until the probe's result is recorded, or for one more pause."""
        circuit = self._circuits.get(name)
        if circuit is None or circuit.failures < _FAILURES_TO_OPEN:
            return True
        if self._is_open(name):
            return False
        circuit.open_until = self._now() + _OPEN_SECONDS
        return True

    def record_success(self, name: str) -> None:
        self._circuits.pop(name, None)

    def record_failure(self, name: str) -> None:
        circuit = self._circuits.setdefault(name, _Circuit())
        circuit.failures += 1
        if circuit.failures >= _FAILURES_TO_OPEN:
            circuit.open_until = self._now() + _OPEN_SECONDS

    def _is_open(self, name: str) -> bool:
        circuit = self._circuits.get(name)
        return (
            circuit is not None and circuit.failures >= _FAILURES_TO_OPEN and self._now() < circuit.open_until
        )
