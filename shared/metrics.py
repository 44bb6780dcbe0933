"""Metrics in log lines (CloudWatch's embedded metric format). A line has the values as normal fields; its key
`_aws` says which fields are metrics. A metric has the name of its field.

Powertools' Metrics would write a second line, which doubles the bytes and the time. This module adds `_aws`
to the existing line. Without a namespace, for example on a laptop, it adds nothing.

Source: AWS, "Specification: Embedded metric format".
"""

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

# The variable that Powertools uses. All metrics have the dimension `service`, which the logger sets.
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
    """One metric directive for each set of dimensions. Cached, because there are only a few kinds of
    lines."""
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
