"""Metrics that travel in the log: CloudWatch reads them from a line's own fields, by what the line says
under `_aws` (the embedded metric format). A metric is named as its field is.

Powertools' Metrics writes a line of its own for them, with each value in a list; beside the log's line
that is twice the bytes and twice the time of one line that is both. This module knows the format's
one object, and which fields are metrics: on a laptop (without a namespace) it adds nothing.

Source: AWS, "Specification: Embedded metric format".
"""

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

# As Powertools calls it. A line's `service`, which the logger sets, is the dimension that all share.
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "").strip()


class Metric(Struct, frozen=True):
    """`by`: the fields whose values each have a metric of their own, besides the one of all together.
    CloudWatch charges for every combination, so none is a client's to choose."""

    unit: Literal["Count", "Milliseconds", "None"] = "Count"
    by: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "turns": Metric(by=("status",)),
    "ttft_ms": Metric("Milliseconds", by=("model",)),
    "duration_ms": Metric("Milliseconds"),
    "database_ms": Metric("Milliseconds"),
    "tokens_in": Metric(by=("model",)),
    "tokens_out": Metric(by=("model",)),
    "cost_usd": Metric("None", by=("model",)),
    "fallbacks": Metric(),
    "active_streams": Metric(),
    "cancels": Metric(),
    "upstream_errors": Metric(by=("provider", "code")),
    "faults": Metric(),
    "database_errors": Metric(),
    "rate_limited": Metric(),
    "budget_exceeded": Metric(),
}


def measured(*, together: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """The fields of a line, for the logger, with what makes metrics of those that are. `together` are
    fields by which this line's values are not to be told apart."""
    names = tuple(name for name in fields if name in METRICS and fields[name] is not None)
    if not (NAMESPACE and names):
        return fields
    return fields | {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": _directives(NAMESPACE, names, together),
        }
    }


@lru_cache(maxsize=64)
def _directives(namespace: str, names: tuple[str, ...], together: tuple[str, ...]) -> list[dict[str, Any]]:
    """One for each set of dimensions; of a service there are only so many kinds of lines."""
    described: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for name in names:
        metric = METRICS[name]
        by = () if set(metric.by) & set(together) else metric.by
        described.setdefault(by, []).append({"Name": name, "Unit": metric.unit})
    return [
        {
            "Namespace": namespace,
            "Dimensions": [["service"], ["service", *by]] if by else [["service"]],
            "Metrics": metrics,
        }
        for by, metrics in described.items()
    ]


def fault(code: str) -> dict[str, Any]:
    """The metric of an error's code, where it has one."""
    kind = "faults" if code in _FAULTS else code
    return {kind: 1} if kind in METRICS else {}


# What is neither the client's doing nor a provider's.
_FAULTS = frozenset({"internal", "unavailable"})
