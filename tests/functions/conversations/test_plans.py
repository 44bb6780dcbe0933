"""Lists use index scans, and a page by cursor costs the same anywhere in the list."""

import asyncio
import re

import pytest

from bench import plans
from tests.database import TestDatabase

ROWS = 20_000


@pytest.fixture(scope="module")
def explained(server, databases):
    name = databases.take()
    plans.fill(server.url("postgres", name), ROWS)
    yield asyncio.run(plans.plans(TestDatabase(server, name).url, ROWS))
    databases.drop(name)


def blocks_read(plan):
    """The number of 8 KB blocks that the statement read."""
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", plan.split("Buffers: ")[1].split("\n")[0])))


def test_a_page_is_an_index_scan_from_its_first_row(explained):
    for way in ("first page", "cursor"):
        conversations, messages = explained[f"conversations, {way}"], explained[f"messages, {way}"]
        assert "Index Only Scan using conversations_by_activity" in conversations
        assert re.search(r"Index Cond: .*ROW\(active_at, id\) <", conversations)
        assert re.search(r"Index Cond: .*ROW\(created_at, id\) >", messages)
        for plan in (conversations, messages):
            assert "Seq Scan" not in plan
            assert "Rows Removed by Filter" not in plan


@pytest.mark.parametrize("resource", ["conversations", "messages"])
def test_a_later_page_by_cursor_costs_as_much_as_the_first(explained, resource):
    first, cursor, offset = (
        blocks_read(explained[f"{resource}, {way}"]) for way in ("first page", "cursor", "offset")
    )
    assert cursor <= first + 10
    assert offset > 2 * cursor
