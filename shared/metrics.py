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
    """A field that is a metric.

    `dimensions`: fields that are dimensions of the metric, in addition to `service`. The metric is also
    written without them. CloudWatch charges for each combination of values, so clients must not be able to
    choose the values.
    """

    unit: Literal["Count", "Milliseconds", "None"] = "Count"
    dimensions: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "turns": Metric(dimensions=("status",)),
    "ttft_ms": Metric("Milliseconds", dimensions=("model",)),
    "duration_ms": Metric("Milliseconds"),
    "database_ms": Metric("Milliseconds"),
    "tokens_in": Metric(dimensions=("model",)),
    "tokens_out": Metric(dimensions=("model",)),
    "cost_usd": Metric("None", dimensions=("model",)),
    "fallbacks": Metric(),
    "active_streams": Metric(),
    "cancels": Metric(),
    "upstream_errors": Metric(dimensions=("provider", "code")),
    "faults": Metric(),
    "database_errors": Metric(),
    "rate_limited": Metric(),
    "budget_exceeded": Metric(),
}


def with_metrics(*, without_dimensions: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """Returns the fields with the key `_aws`, which declares the metrics among them. `without_dimensions` are
    fields that are not used as dimensions in this line."""
    names = tuple(name for name in fields if name in METRICS and fields[name] is not None)
    if not (NAMESPACE and names):
        return fields
    return fields | {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": _directives(NAMESPACE, names, without_dimensions),
        }
    }


@lru_cache(maxsize=64)
def _directives(
    namespace: str, names: tuple[str, ...], without_dimensions: tuple[str, ...]
) -> list[dict[str, Any]]:
    """One metric directive for each set of dimensions. Cached, because there are only a few kinds of
    lines."""
    described: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for name in names:
        metric = METRICS[name]
        dimensions = () if set(metric.dimensions) & set(without_dimensions) else metric.dimensions
        described.setdefault(dimensions, []).append({"Name": name, "Unit": metric.unit})
    return [
        {
            "Namespace": namespace,
            "Dimensions": [["service"], ["service", *dimensions]] if dimensions else [["service"]],
            "Metrics": metrics,
        }
        for dimensions, metrics in described.items()
    ]


def error_metric(code: str) -> dict[str, Any]:
    """The metric that counts errors with this code, or {} if there is none."""
    name = "faults" if code in _FAULTS else code
    return {name: 1} if name in METRICS else {}


# The codes of errors that this service causes.
_FAULTS = frozenset({"internal", "unavailable"})
