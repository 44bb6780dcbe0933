"""Runs the commands of `docs/carry-over.md` on two real databases."""

import os
import re
import subprocess
from uuid import uuid4

import pytest

from dev.local import ROOT
from tests.database import TestDatabase

PAGE = (ROOT / "docs/carry-over.md").read_text("utf-8")
TABLES = ["conversations", "messages", "usage_logs", "turns", "budgets"]
USER = uuid4()


@pytest.fixture
def new(databases, server):
    """A second migrated database."""
    name = databases.take()
    yield TestDatabase(server, name)
    databases.drop(name)


def test_the_commands_copy_every_row_unchanged(server, database, new):
    turn = database.begin_turn(USER)
    database.call(
        "finish_turn",
        user_id=USER,
        answer_id=turn["answer_id"],
        status="complete",
        content="An answer.",
        token_count=3,
        metadata={"a": 1},
        usage=[
            {
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
        ],
    )
    database.rows("update conversations set tags = '{sleep}'")
    [script] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = f"{server.bin_path}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "OLD": database.owner_url, "NEW": new.owner_url}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=environ, check=True)
    for table in TABLES:
        query = f"select * from {table} order by 1"
        assert new.rows(query) == database.rows(query) != [], table
    for each in (database, new):
        unforced = "select relname from pg_class where relrowsecurity and not relforcerowsecurity"
        assert each.rows(unforced) == []
    assert new.begin_turn(USER, conversation_id=turn["conversation_id"])["outcome"] == "started"
    assert new.rows("select message_count from conversations") == [{"message_count": 4}]
