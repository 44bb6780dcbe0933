"""What is opened ahead is waited for while that makes sense, and its failure is nobody's."""

import asyncio

import pytest

from shared import warmup
from shared.warmup import WarmUp


class Clock:
    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


async def never():
    await asyncio.Event().wait()


def test_who_wants_it_waits_until_it_is_open():
    done = []

    async def opening():
        await asyncio.sleep(0.01)
        done.append(True)

    async def main():
        await WarmUp("it", opening).wait()
        assert done

    asyncio.run(main())


def test_what_was_frozen_in_the_middle_is_ended_and_not_waited_for():
    clock = Clock()

    async def main():
        begun = WarmUp("it", never, now=clock)
        await asyncio.sleep(0)
        clock.time += 3600
        await asyncio.wait_for(begun.wait(), 1)
        await asyncio.wait({begun.task}, timeout=1)
        assert begun.task.cancelled()

    asyncio.run(main())


def test_a_failure_is_logged_and_raises_nothing():
    async def opening():
        raise LookupError

    async def main():
        await WarmUp("it", opening).wait()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("initialization", "is_done"), [("on-demand", False), ("provisioned-concurrency", True)]
)
def test_only_a_process_that_is_about_to_be_frozen_finishes_what_it_has_begun(
    monkeypatch, initialization, is_done
):
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", initialization)

    async def opening():
        await asyncio.sleep(0.01)

    async def main():
        begun = WarmUp("it", opening)
        await warmup.wait_if_provisioned(begun)
        assert begun.task.done() is is_done
        await begun.close()

    asyncio.run(main())
