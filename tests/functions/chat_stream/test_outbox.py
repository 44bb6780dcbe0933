import asyncio

from functions.chat_stream.outbox import Outbox
from shared.events import TextDelta


def run(scenario):
    return asyncio.run(scenario())


def delta(number):
    return TextDelta(str(number))


def test_all_that_is_there_is_taken_at_once_and_in_order():
    async def scenario():
        outbox = Outbox()
        outbox.put([delta(1), delta(2)])
        outbox.put([delta(3)])
        outbox.close()
        assert await outbox.take() == [delta(1), delta(2), delta(3)]
        assert await outbox.take() is None

    run(scenario)


def test_a_reader_waits_for_the_first_event():
    async def scenario():
        outbox = Outbox()
        reader = asyncio.create_task(outbox.take())
        await asyncio.sleep(0)
        assert not reader.done()
        outbox.put([delta(1)])
        assert await reader == [delta(1)]

    run(scenario)


def test_a_nudge_wakes_a_waiting_reader_with_nothing():
    async def scenario():
        outbox = Outbox()
        reader = asyncio.create_task(outbox.take())
        await asyncio.sleep(0)
        outbox.nudge()
        assert await reader == []
        # One nudge, one waking.
        reader = asyncio.create_task(outbox.take())
        await asyncio.sleep(0)
        assert not reader.done()
        outbox.close()
        assert await reader is None

    run(scenario)


def test_the_writer_never_waits_and_an_abandoned_outbox_keeps_nothing():
    async def scenario():
        outbox = Outbox()
        for number in range(1000):
            outbox.put([delta(number)])
        outbox.abandon()
        for number in range(1000):
            outbox.put([delta(number)])
        assert outbox.abandoned
        assert await outbox.take() is None

    run(scenario)


def test_a_reader_that_is_cancelled_leaves_the_outbox_usable():
    async def scenario():
        outbox = Outbox()
        reader = asyncio.create_task(outbox.take())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        outbox.put([delta(1)])
        assert await outbox.take() == [delta(1)]

    run(scenario)
