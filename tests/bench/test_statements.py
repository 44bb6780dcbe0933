"""The statements and round trips of a turn."""

from contextlib import ExitStack

import pytest

from bench import statements, subjects
from bench.statements import CountingProxy, Counts
from bench.subjects import Users


@pytest.mark.parametrize("kind", ["stateless", "stored"])
def test_a_turn_is_one_round_trip_before_the_model_and_one_after(server, database, kind):
    with ExitStack() as stack:
        provider = stack.enter_context(subjects.provider())
        proxy = stack.enter_context(CountingProxy(server, database.name))
        served = stack.enter_context(subjects.uvicorn(subjects.environment(proxy.url, provider)))
        users = Users.create(served, 1)
        target = (users.stateless if kind == "stateless" else users.stored)("words-10-20000", 1)
        assert statements.counts(proxy, target, 3) == Counts(1, 1, 1, 1)
