"""Reads log lines as CloudWatch does: what it would record, or an assertion that says what is not of the
format. Source of the rules: AWS, "Specification: Embedded metric format"."""

import json
import time
from dataclasses import dataclass
from typing import Any

# Those of MetricDatum, as far as any metric here could want one.
UNITS = {"Count", "Milliseconds", "Seconds", "Microseconds", "Bytes", "Percent", "None"}


@dataclass(frozen=True)
class Recorded:
    namespace: str
    name: str
    unit: str
    value: float
    dimensions: tuple[tuple[str, str], ...]


def recorded(text: str) -> list[Recorded]:
    """The metrics of one log line, once for each set of dimensions."""
    root = json.loads(text)
    if "_aws" not in root:
        return []
    assert "\n" not in text
    assert len(text.encode()) <= 256_000
    assert root["_aws"].keys() == {"Timestamp", "CloudWatchMetrics"}
    stamp, directives = root["_aws"]["Timestamp"], root["_aws"]["CloudWatchMetrics"]
    # Milliseconds since the epoch; at most two weeks old and two hours ahead.
    assert isinstance(stamp, int)
    assert -14 * 86_400 < stamp / 1000 - time.time() < 2 * 3600
    assert directives
    return [metric for directive in directives for metric in _of_directive(directive, root)]


def _of_directive(directive: dict[str, Any], root: dict[str, Any]) -> list[Recorded]:
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
            assert isinstance(value, str), f"{name} is no text"
            assert 1 <= len(value.strip()) <= 1024
            assert value.isascii()
        for metric in directive["Metrics"]:
            assert metric.keys() <= {"Name", "Unit", "StorageResolution"}
            assert 1 <= len(metric["Name"]) <= 1024
            assert metric["Unit"] in UNITS
            value = root[metric["Name"]]
            assert isinstance(value, int | float), f"{metric['Name']} is no number"
            assert not isinstance(value, bool)
            found.append(Recorded(directive["Namespace"], metric["Name"], metric["Unit"], value, dimensions))
    return found
