"""A caller waits for a warm-up for a limited time. Errors of warm-ups are only logged."""

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


def test_wait_returns_after_the_work():
    done = []

    async def work():
        await asyncio.sleep(0.01)
        done.append(True)

    async def main():
        await WarmUp("database", work).wait()
        assert done

    asyncio.run(main())


def test_a_warm_up_that_was_frozen_is_cancelled():
    clock = Clock()

    async def main():
        warm_up = WarmUp("database", never, now=clock)
        await asyncio.sleep(0)
        clock.time += 3600
        await asyncio.wait_for(warm_up.wait(), 1)
        await asyncio.wait({warm_up.task}, timeout=1)
        assert warm_up.task.cancelled()

    asyncio.run(main())


def test_a_failure_is_logged_and_raises_nothing(caplog):
    async def work():
        raise LookupError

    async def main():
        await WarmUp("database", work).wait()

    asyncio.run(main())
    assert "warm-up failed" in caplog.messages


@pytest.mark.parametrize(
    ("initialization", "is_done"), [("on-demand", False), ("provisioned-concurrency", True)]
)
def test_only_a_process_with_provisioned_concurrency_waits_for_its_warm_ups(
    monkeypatch, initialization, is_done
):
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", initialization)

    async def work():
        await asyncio.sleep(0.01)

    async def main():
        warm_up = WarmUp("database", work)
        await warmup.wait_if_provisioned(warm_up)
        assert warm_up.task.done() is is_done
        await warm_up.close()

    asyncio.run(main())
