"""Alarms and the dashboard use metrics that the functions emit."""

import json
import re

from dev.local import ROOT
from shared.metrics import METRICS
from tests.infra.templates import Stack, load

NAMESPACE = "ServerlessChat"


def alarms():
    return {
        name: resource["Properties"]
        for template in ("template.yaml", "watch.yaml")
        for name, resource in load(template)["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def metrics_of(alarm):
    """Namespace, name and dimensions of each metric of an alarm."""
    several = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in several or [alarm]:
        yield metric["Namespace"], metric["MetricName"], {each["Name"] for each in metric["Dimensions"]}


OURS = {
    metric: dimensions
    for alarm in alarms().values()
    for namespace, metric, dimensions in metrics_of(alarm)
    if namespace == NAMESPACE
}


def test_alarms_in_our_namespace_use_metrics_that_are_emitted():
    assert {"ttft_ms", "upstream_errors", "budget_exceeded", "faults", "database_errors"} <= OURS.keys()
    assert OURS.keys() <= METRICS.keys()
    assert set(map(tuple, OURS.values())) == {("service",)}
    variables = load("template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_the_dashboard_uses_metrics_and_dimensions_that_are_emitted():
    body = dashboard()
    shown = set(re.findall(r'"ServerlessChat", "(\w+)"', body)) | set(
        re.findall(r'MetricName=\\"(\w+)\\"', body)
    )
    assert {"turns", "cost_usd", "upstream_errors"} <= shown
    assert shown <= METRICS.keys()
    for dimensions, metric in re.findall(r"SEARCH\('{ServerlessChat,([\w,]+)} MetricName=\\\"(\w+)", body):
        assert tuple(dimensions.split(",")) == ("service", *METRICS[metric].dimensions)


def test_the_dashboard_has_no_empty_dimension_without_a_cluster():
    assert "AWS/RDS" in dashboard()
    assert "AWS/RDS" not in dashboard(Cluster="")
    assert '""' not in dashboard(Cluster="")


def test_the_connections_alarm_uses_the_limits_of_the_capacity_and_of_aurora():
    for least, most, limit in [("0", "4", 2000), ("0.5", "64", 2000), ("1", "64", 5000)]:
        watch = Stack("watch.yaml", MinCapacity=least, MaxCapacity=most, Cluster="c")
        queries = watch.value(watch.resources["DatabaseConnectionsAlarm"])["Properties"]["Metrics"]
        expressions = {query["Id"]: query.get("Expression") for query in queries}
        assert expressions["percent"] == "MAX([of_memory, of_limit])"
        assert expressions["of_memory"] == f"100 * connections / (180 * {most})"
        assert expressions["of_limit"] == f"100 * connections / {limit}"


def dashboard(**parameters):
    given = {"Name": "chat", "ChatStreamFunction": "a", "ConversationsFunction": "b", "Cluster": "c"}
    watch = Stack("watch.yaml", **given | parameters)
    body = watch.value(watch.resources["Dashboard"])["Properties"]["DashboardBody"]
    assert len(json.loads(body)["widgets"]) > 5
    return body


def test_every_alarm_notifies_the_topic_and_treats_missing_data_as_good():
    assert len(alarms()) > 8
    for name, alarm in alarms().items():
        assert len(alarm["AlarmActions"]) == 1, name
        assert alarm["AlarmActions"] == alarm["OKActions"], name
        assert alarm["TreatMissingData"] == "notBreaching", name
        assert alarm["AlarmDescription"], name


def test_operations_describes_each_alarm():
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    assert [name for name in alarms() if f"`{name}`" not in text] == []
