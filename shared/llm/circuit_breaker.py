"""Remembers which models failed again and again, so that turns do not wait for them in vain.

Per process, in memory: a circuit opens after some failures in a row, and for a while the model is
passed over; then one turn is let through to see. Where every model's circuit is open, all are asked as
if none were: an attempt that may fail is better than none.
"""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

_FAILURES_TO_OPEN = 5
_OPEN_SECONDS = 30.0


class _Circuit(Struct):
    failures: int = 0
    # Before this moment the model is passed over. A probe under way moves it on.
    passed_over_until: float = 0.0


class CircuitBreaker:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._circuits: dict[str, _Circuit] = {}

    def choose(self, names: Sequence[str]) -> list[str]:
        """The names worth asking, in their order."""
        return [name for name in names if self._is_due(name)] or list(names)

    def admits(self, name: str) -> bool:
        """Whether a model may be asked now. Where its circuit was open, whoever is admitted is the
        probe: others pass by until it is known how that went, or for as long again."""
        if not self._is_due(name):
            return False
        circuit = self._circuits.get(name)
        if circuit is not None and circuit.failures >= _FAILURES_TO_OPEN:
            circuit.passed_over_until = self._now() + _OPEN_SECONDS
        return True

    def succeeded(self, name: str) -> None:
        self._circuits.pop(name, None)

    def failed(self, name: str) -> None:
        circuit = self._circuits.setdefault(name, _Circuit())
        circuit.failures += 1
        if circuit.failures >= _FAILURES_TO_OPEN:
            circuit.passed_over_until = self._now() + _OPEN_SECONDS

    def _is_due(self, name: str) -> bool:
        circuit = self._circuits.get(name)
        if circuit is None or circuit.failures < _FAILURES_TO_OPEN:
            return True
        return self._now() >= circuit.passed_over_until
