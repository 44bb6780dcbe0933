"""A new turn waits up to 2 s until the answer that the user has stopped is settled."""

import asyncio
from uuid import uuid4

import pytest

from functions.chat_stream.records import StartedTurn
from functions.chat_stream.stop_wait import begin_after_stop
from functions.chat_stream.store import StoppingAnswer
from functions.chat_stream.timeouts import Timeouts
from shared.errors import Conflict, RateLimited
from tests.virtual_time import run

STARTED = StartedTurn(user_id=uuid4(), answer_id=uuid4())
TIMEOUTS = Timeouts(arrived_at=0, start_until=2.8, first_token=20, idle=30, deadline=900)


class Database:
    """Begins a turn in 0.01 s, once the stopped answer is settled at `settled_at`."""

    def __init__(self, settled_at, error=None):
        self.settled_at = settled_at
        self.error = error
        self.calls = []

    async def begin(self, *, within):
        now = asyncio.get_running_loop().time()
        self.calls.append((now, within))
        await asyncio.sleep(0.01)
        if now < self.settled_at:
            raise StoppingAnswer("another answer is being written")
        if self.error is not None:
            raise self.error
        return STARTED


def test_without_a_stopped_answer_the_turn_begins_at_once():
    database = Database(0)
    assert run(begin_after_stop(database.begin, TIMEOUTS)) == (STARTED, TIMEOUTS)
    assert database.calls == [(0, 2.9)]


@pytest.mark.parametrize("settled_at", [0.1, 0.9, 1.9])
def test_the_turn_begins_when_the_stopped_answer_is_settled(settled_at):
    async def check():
        database = Database(settled_at)
        started, timeouts = await begin_after_stop(database.begin, TIMEOUTS)
        now = asyncio.get_running_loop().time()
        assert started == STARTED
        assert settled_at < now < settled_at + 0.3
        # The model and the save have as much time as after a begin at once.
        assert timeouts.start_until - now == pytest.approx(2.8 - 0.01)
        assert timeouts.seconds_to_respond() == pytest.approx(2.9 - 0.01)
        assert (timeouts.arrived_at, timeouts.deadline) == (0, 900)
        assert all(within == pytest.approx(2.9) for _, within in database.calls)

    run(check())


def test_after_2_seconds_the_turn_is_refused():
    async def check():
        with pytest.raises(Conflict):
            await begin_after_stop(Database(60).begin, TIMEOUTS)
        assert asyncio.get_running_loop().time() == pytest.approx(2.1, abs=0.15)

    run(check())


def test_another_error_ends_the_wait():
    error = RateLimited("too many", retry_after=1)
    with pytest.raises(RateLimited):
        run(begin_after_stop(Database(0.5, error).begin, TIMEOUTS))
