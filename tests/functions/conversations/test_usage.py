"""The usage report: totals, rows by day, model or conversation, and the budget of today."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from tests.serving import Client, serve, settings

USER, OTHER = uuid4(), uuid4()
FIRST, SECOND = uuid4(), uuid4()
PATH = "/api/chat/usage"
ZERO = {
    "turns": 0,
    "tokens_in": 0,
    "tokens_out": 0,
    "tokens_cache_read": 0,
    "tokens_cache_write": 0,
    "tokens_reasoning": 0,
    "cost_usd": "0",
    "estimated_share": 0.0,
}


def spend(database, *, at, cost, model="a", user=USER, conversation=FIRST, message=None, estimated=False):
    database.rows(
        "insert into usage_logs (id, user_id, conversation_id, message_id, provider, model, tokens_in,"
        " tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_usd, priced, estimated,"
        " status, duration_ms, created_at)"
        " values (gen_random_uuid(), %s, %s, %s, 'mock', %s, 100, 10, 5, 4, 3, %s, true, %s,"
        " 'complete', 1, %s)",
        (user, conversation, message or uuid4(), model, Decimal(cost), estimated, at),
    )


@pytest.fixture
def url(database):
    with serve(settings(database.url)) as url:
        yield url


@pytest.fixture
def client(url):
    with Client(url, USER) as client:
        yield client


@pytest.fixture
def november(database):
    """Stores four turns on two days and a turn of another user. One turn used a fallback and has two rows."""
    with_fallback = uuid4()
    spend(database, at="2026-11-20T23:59:59.999999Z", cost="0.1000000001")
    spend(database, at="2026-11-21T00:00Z", cost="0.2", model="b", conversation=SECOND, estimated=True)
    spend(database, at="2026-11-21T12:00Z", cost="0.3", message=with_fallback)
    spend(database, at="2026-11-21T12:00Z", cost="0.05", message=with_fallback, model="b")
    spend(database, at="2026-11-21T13:00Z", cost="0", model="c", conversation=None)
    spend(database, at="2026-11-21T12:00Z", cost="5", user=OTHER)
    return {"from": "2026-11-20", "to": "2026-11-21"}


def test_the_report_of_a_user_without_turns_is_zero(client):
    assert client.get(PATH).json() == {"totals": ZERO, "rows": [], "budget": None}


def test_totals_have_turns_tokens_and_costs(client, november):
    assert client.get(PATH, params=november).json()["totals"] == {
        "turns": 4,
        "tokens_in": 500,
        "tokens_out": 50,
        "tokens_cache_read": 25,
        "tokens_cache_write": 20,
        "tokens_reasoning": 15,
        "cost_usd": "0.6500000001",
        "estimated_share": 0.25,
    }


@pytest.mark.parametrize(
    ("group_by", "rows"),
    [
        (
            "day",
            [
                {"day": "2026-11-20", "turns": 1, "cost_usd": "0.1000000001", "estimated_share": 0.0},
                {"day": "2026-11-21", "turns": 3, "cost_usd": "0.55", "estimated_share": 0.3333},
            ],
        ),
        (
            "model",
            [
                {"provider": "mock", "model": "a", "turns": 2, "cost_usd": "0.4000000001"},
                {"provider": "mock", "model": "b", "turns": 2, "cost_usd": "0.25"},
                {"provider": "mock", "model": "c", "turns": 1, "cost_usd": "0"},
            ],
        ),
        (
            "conversation",
            [
                {"conversation_id": str(FIRST), "turns": 2, "cost_usd": "0.4500000001"},
                {"conversation_id": str(SECOND), "turns": 1, "cost_usd": "0.2"},
                {"conversation_id": None, "turns": 1, "cost_usd": "0"},
            ],
        ),
    ],
)
def test_rows_are_grouped_by_day_model_or_conversation(client, november, group_by, rows):
    report = client.get(PATH, params=november | {"group_by": group_by}).json()
    assert [
        {key: row[key] for key in expected} for row, expected in zip(report["rows"], rows, strict=True)
    ] == rows
    assert set(report["rows"][0]) == {*ZERO, *rows[0]}


@pytest.mark.parametrize(
    ("since", "until", "turns"),
    [
        ("2026-11-20", "2026-11-20", 1),
        ("2026-11-21", "2026-11-21", 3),
        ("2026-11-21T00:00:00Z", "2026-11-21T12:00:00Z", 1),
        ("2026-11-21T02:00:00+02:00", "2026-11-21T14:00:00.000001+02:00", 2),
        ("2026-11-21T12:00:00", "2026-11-21T13:00:00", 1),
        ("2026-11-22", "2026-11-30", 0),
    ],
)
def test_a_range_of_days_is_inclusive_and_a_range_of_times_excludes_its_end(
    client, november, since, until, turns
):
    report = client.get(PATH, params={"from": since, "to": until}).json()
    assert report["totals"]["turns"] == turns


def test_the_default_range_is_the_last_30_days(client, database):
    now = datetime.now(UTC)
    spend(database, at=now - timedelta(days=29), cost="0.1")
    spend(database, at=now - timedelta(days=31), cost="0.1")
    assert client.get(PATH).json()["totals"]["turns"] == 1


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": ""}, "to"),
        ({"to": "2026-13-01"}, "to"),
        ({"to": "9999-12-31"}, "to"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
        ({"from": "2026-11-21", "to": "2026-11-19"}, "from"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, "from"),
        ({"from": ["2026-11-20", "2026-11-21"]}, "from"),
        ({"group_by": "user"}, "group_by"),
    ],
)
def test_a_bad_parameter_is_400_and_is_named(client, params, field):
    response = client.get(PATH, params=params)
    assert (response.status_code, response.json()["field"]) == (400, field)


def test_the_report_has_the_remaining_budget_of_today(database):
    with serve(settings(database.url, BUDGET_USD_PER_DAY="1.5")) as url, Client(url, USER) as client:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        spend(database, at=midnight, cost="0.25")
        spend(database, at=midnight - timedelta(microseconds=1), cost="1")
        budget = client.get(PATH).json()["budget"]
        renews_at = budget.pop("renews_at")
        assert budget == {
            "limit_usd": "1.5",
            "spent_usd": "0.25",
            "reserved_usd": "0",
            "left_usd": "1.25",
        }
        assert datetime.fromisoformat(renews_at) == midnight + timedelta(days=1)
        database.rows(
            "insert into budgets (user_id, day, spent_usd, reserved_usd)"
            " values (%s, (now() at time zone 'UTC')::date, 1, 0.75)",
            (USER,),
        )
        budget = client.get(PATH).json()["budget"]
        assert (budget["spent_usd"], budget["reserved_usd"], budget["left_usd"]) == ("1", "0.75", "0")


def test_a_turn_counts_only_for_its_user(url, client):
    conversation = client.post("/chat-stream", json={"message": "Hi"}).headers["x-conversation-id"]
    [row] = client.get(PATH, params={"group_by": "conversation"}).json()["rows"]
    assert (row["conversation_id"], row["turns"]) == (str(UUID(conversation)), 1)
    with Client(url, OTHER) as other:
        assert other.get(PATH).json()["totals"] == ZERO
