"""While the models are asked, the stop of the user is read every 0.8 s."""

import asyncio

import pytest

from functions.chat_stream.model_start import start_model
from shared.errors import Unavailable
from tests.virtual_time import run


class Model:
    """Answers after `seconds`."""

    def __init__(self, seconds, error=None):
        self.seconds = seconds
        self.error = error
        self.is_cancelled = False

    async def start(self):
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return "answer"


class Checkpoints:
    """Take 0.1 s, and return or raise one result after the other."""

    def __init__(self, *results):
        self.results = list(results)

    async def __call__(self):
        result = self.results.pop(0)
        await asyncio.sleep(0.1)
        if isinstance(result, Exception):
            raise result
        return result


def start(model, *results):
    """Returns the answer and the time."""

    async def measure():
        answer = await start_model(model.start, Checkpoints(*results))
        return answer, asyncio.get_running_loop().time()

    return run(measure())


def test_a_model_that_answers_soon_causes_no_checkpoint():
    assert start(Model(0.7)) == ("answer", pytest.approx(0.7))


@pytest.mark.parametrize("checkpoints", [["cancel"], ["running", "cancel"], [Unavailable("away"), "cancel"]])
def test_a_stop_ends_the_request_to_the_model(checkpoints):
    model = Model(60)
    answer, took = start(model, *checkpoints)
    assert (answer, took) == (None, pytest.approx(0.9 * len(checkpoints)))
    assert model.is_cancelled


@pytest.mark.parametrize("state", ["running", "error", None])
def test_another_state_leaves_the_request_running(state):
    assert start(Model(1), state) == ("answer", pytest.approx(1))


def test_an_answer_that_begins_during_a_checkpoint_is_kept():
    """The turn reads the stop at its own checkpoint."""
    assert start(Model(0.85), "cancel") == ("answer", pytest.approx(0.9))


def test_an_error_of_the_models_is_raised():
    with pytest.raises(Unavailable):
        start(Model(2, Unavailable("no model")), "running", "running")


def test_a_cancelled_caller_cancels_the_request_to_the_model():
    async def check():
        model = Model(60)
        task = asyncio.create_task(start_model(model.start, Checkpoints()))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert model.is_cancelled

    run(check())
