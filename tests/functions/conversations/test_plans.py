"""The lists stay on their indexes, and by cursor the thousandth page costs what the first does."""

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
    """Of 8 KB, by the whole statement."""
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", plan.split("Buffers: ")[1].split("\n")[0])))


def test_pages_are_index_scans_that_begin_at_their_place(explained):
    for way in ("first page", "cursor"):
        conversations, messages = explained[f"conversations, {way}"], explained[f"messages, {way}"]
        assert "Index Only Scan using conversations_by_activity" in conversations
        assert re.search(r"Index Cond: .*ROW\(active_at, id\) <", conversations)
        assert re.search(r"Index Cond: .*ROW\(created_at, id\) >", messages)
        for plan in (conversations, messages):
            assert "Seq Scan" not in plan
            assert "Rows Removed by Filter" not in plan


@pytest.mark.parametrize("of", ["conversations", "messages"])
def test_a_page_by_cursor_costs_what_the_first_does_however_far_it_is(explained, of):
    first, cursor, offset = (
        blocks_read(explained[f"{of}, {way}"]) for way in ("first page", "cursor", "offset")
    )
    assert cursor <= first + 10
    assert offset > 2 * cursor
