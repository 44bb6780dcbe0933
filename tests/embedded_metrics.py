"""Reads metrics from log lines as CloudWatch does. A line that breaks the format fails an assertion.

Source: AWS, "Specification: Embedded metric format".
"""

import json
import time
from dataclasses import dataclass
from typing import Any

# The units of MetricDatum that metrics of this project may have.
UNITS = {"Count", "Milliseconds", "Seconds", "Microseconds", "Bytes", "Percent", "None"}


@dataclass(frozen=True)
class Metric:
    namespace: str
    name: str
    unit: str
    value: float
    dimensions: tuple[tuple[str, str], ...]


def parse(text: str) -> list[Metric]:
    """The metrics of one log line. A metric appears once for each set of dimensions."""
    root = json.loads(text)
    if "_aws" not in root:
        return []
    assert "\n" not in text
    assert len(text.encode()) <= 256_000
    assert root["_aws"].keys() == {"Timestamp", "CloudWatchMetrics"}
    stamp, directives = root["_aws"]["Timestamp"], root["_aws"]["CloudWatchMetrics"]
    # Milliseconds since the epoch, at most two weeks in the past and two hours in the future.
    assert isinstance(stamp, int)
    assert -14 * 86_400 < stamp / 1000 - time.time() < 2 * 3600
    assert directives
    return [metric for directive in directives for metric in _metrics_of_directive(directive, root)]


def _metrics_of_directive(directive: dict[str, Any], root: dict[str, Any]) -> list[Metric]:
    assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
    assert 1 <= len(directive["Namespace"]) <= 1024
    assert directive["Dimensions"]
    assert 1 <= len(directive["Metrics"]) <= 100
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(set(names)) == len(names)
    found = []
    for names in directive["Dimensions"]:
        assert len(set(names)) == len(names) <= 30
        dimensions = tuple((name, root[name]) for name in names)
        for name, value in dimensions:
            assert 1 <= len(name) <= 250
            assert isinstance(value, str), f"{name} is not a string"
            assert 1 <= len(value.strip()) <= 1024
            assert value.isascii()
        for metric in directive["Metrics"]:
            assert metric.keys() <= {"Name", "Unit", "StorageResolution"}
            assert 1 <= len(metric["Name"]) <= 1024
            assert metric["Unit"] in UNITS
            value = root[metric["Name"]]
            assert isinstance(value, int | float), f"{metric['Name']} is not a number"
            assert not isinstance(value, bool)
            found.append(Metric(directive["Namespace"], metric["Name"], metric["Unit"], value, dimensions))
    return found
