"""The statements and round trips of a turn."""

from contextlib import ExitStack

import pytest

from bench import servers, statements
from bench.servers import Users
from bench.statements import CountingProxy, Counts


@pytest.mark.parametrize("kind", ["stateless", "stored"])
def test_a_turn_takes_one_round_trip_before_the_first_token_and_one_after_it(server, database, kind):
    with ExitStack() as stack:
        provider = stack.enter_context(servers.provider())
        proxy = stack.enter_context(CountingProxy(server, database.name))
        served = stack.enter_context(servers.uvicorn(servers.environment(proxy.url, provider)))
        users = Users.create(served, 1)
        target = (users.stateless if kind == "stateless" else users.stored)("words-10-20000", 1)
        assert statements.counts(proxy, target, 3) == Counts(1, 1, 1, 1)
