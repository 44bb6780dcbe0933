"""Checks `docs/operations.md`: commands against the models of the AWS CLI, SQL against the schema, sums,
prices, and names against the code and the templates. The names in `docs/deploy.md` are checked too."""

import re
from uuid import uuid4

import botocore.session
import psycopg
import pytest
from botocore import xform_name

from dev.local import ROOT
from shared import costs, metrics
from shared.events import Usage
from tests.infra.templates import load

PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
DEPLOY = (ROOT / "docs/deploy.md").read_text("utf-8")
TEMPLATE = load("template.yaml")
# Metrics of CloudWatch, a deployment type of CodeDeploy, and the namespace of the project's metrics.
OTHER_NAMES = {
    "AllAtOnce", "ClientConnections", "ConcurrentExecutions", "DatabaseConnectionsBorrowLatency",
    "DatabaseConnectionsCurrentlySessionPinned", "ServerlessChat",
}  # fmt: skip
# A command ends at a backtick, the end of the line, or a shell operator.
COMMANDS = re.findall(r"\baws [a-z0-9-]+ [a-z0-9-]+(?:(?! \|| &&| >|; )[^`\n])*", PAGE)
PRICES = re.findall(r"^\| `(\S+/\S+)` \| ([\d.]+) \|$", PAGE, re.MULTILINE)
GLOBAL_OPTIONS = {"query", "output", "region"}


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_the_aws_cli_has_each_command_and_its_options(command):
    _, service, operation = command.split()[:3]
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in operations
    shape = model.operation_model(operations[operation]).input_shape
    assert shape is not None
    options = {xform_name(name, "-") for name in shape.members} | GLOBAL_OPTIONS
    given = set(re.findall(r" --([a-z0-9-]+)", command))
    assert given <= options
    if given:  # a complete command, not only its name in a sentence
        assert {xform_name(name, "-") for name in shape.required_members} <= given


def test_erasing_a_user_deletes_all_rows_of_this_user_and_none_of_others(database):
    [sql] = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    erased, other = uuid4(), uuid4()
    for user in (erased, other):
        turn = database.begin_turn(user)
        database.call(
            "finish_turn",
            user_id=user,
            answer_id=turn["answer_id"],
            status="complete",
            content="Well",
            token_count=1,
            metadata={},
            usage=[_usage()],
        )
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(sql.replace(":'user_id'", f"'{erased}'").encode())
    for table in ("conversations", "messages", "turns", "usage_logs", "budgets"):
        left = {row["user_id"] for row in database.rows(f"select user_id from {table}")}
        assert left == {other}, table
    subjects = {row["subject"] for row in database.rows("select subject from rate_limits")}
    assert subjects == {f"user:{other}"}
    unforced = "select relname from pg_class where relrowsecurity and not relforcerowsecurity"
    assert database.rows(unforced) == []


def _usage():
    return {
        "id": uuid4(),
        "provider": "openai",
        "model": "m",
        "tokens_in": 1,
        "tokens_out": 1,
        "cost_usd": "0.1",
        "priced": True,
        "status": "complete",
        "duration_ms": 1,
    }


@pytest.mark.parametrize("heading", ["| per 1,000 turns | arithmetic | USD |", "| a month, with no turn"])
def test_the_cost_tables_add_up(heading):
    table = PAGE[PAGE.index(heading) :].partition("\n\n")[0].splitlines()[2:]
    *amounts, total = [float(row.split("|")[3].strip(" *")) for row in table]
    assert sum(amounts) == pytest.approx(total, abs=0.00005)


@pytest.mark.parametrize(("model", "usd"), PRICES)
def test_the_costs_of_models_match_the_price_table(model, usd):
    provider, _, name = model.partition("/")
    turn = costs.cost(provider, name, Usage(input=1500, output=400))
    assert turn.priced
    assert float(turn.usd * 1000) == float(usd)


def test_the_page_has_commands_and_prices_to_check():
    assert len(COMMANDS) >= 10
    assert len(PRICES) >= 3


def test_every_metric_is_described():
    section = PAGE[PAGE.index("## Metrics") : PAGE.index("## Alarms")]
    assert set(re.findall(r"`([a-z_]+)`", section)) >= metrics.METRICS.keys()


def test_the_template_has_the_outputs_and_resources_in_the_commands():
    outputs, resources = (set(re.findall(rf"[( ]{what} ([A-Z]\w+)", PAGE)) for what in ("output", "resource"))
    assert {"DatabaseEndpoint", "MigrateFunction"} <= outputs <= TEMPLATE["Outputs"].keys()
    assert {"ChatStreamFunction", "ChatStreamLogs"} <= resources <= TEMPLATE["Resources"].keys()


@pytest.mark.parametrize("page", [PAGE, DEPLOY], ids=["operations", "deploy"])
def test_the_templates_have_the_parameters_alarms_and_resources_on_the_page(page):
    templates = [load(f"{name}.yaml") for name in ("template", "database", "page", "watch")]
    known = OTHER_NAMES | TEMPLATE["Parameters"].keys() | TEMPLATE["Outputs"].keys()
    known = known.union(*(template["Resources"] for template in templates))
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)(?:[:=][^`]*)?`", page))
    named |= set(re.findall(r"PARAMETERS=\"?([A-Za-z]+)=", page)) - {"Name"}
    assert "DatabaseAuth" in named
    assert named - known == set()
