import asyncio

from functions.chat_stream.event_queue import EventQueue
from shared.events import TextDelta


def run(scenario):
    return asyncio.run(scenario())


def delta(number):
    return TextDelta(str(number))


def test_all_that_is_there_is_taken_at_once_and_in_order():
    async def scenario():
        event_queue = EventQueue()
        event_queue.put([delta(1), delta(2)])
        event_queue.put([delta(3)])
        event_queue.close()
        assert await event_queue.take() == [delta(1), delta(2), delta(3)]
        assert await event_queue.take() is None

    run(scenario)


def test_a_reader_waits_for_the_first_event():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        assert not reader.done()
        event_queue.put([delta(1)])
        assert await reader == [delta(1)]

    run(scenario)


def test_a_wake_wakes_a_waiting_reader_with_nothing():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        event_queue.wake()
        assert await reader == []
        # One wake, one waking.
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        assert not reader.done()
        event_queue.close()
        assert await reader is None

    run(scenario)


def test_the_writer_never_waits_and_an_abandoned_outbox_keeps_nothing():
    async def scenario():
        event_queue = EventQueue()
        for number in range(1000):
            event_queue.put([delta(number)])
        event_queue.abandon()
        for number in range(1000):
            event_queue.put([delta(number)])
        assert event_queue.abandoned
        assert await event_queue.take() is None

    run(scenario)


def test_a_reader_that_is_cancelled_leaves_the_outbox_usable():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        event_queue.put([delta(1)])
        assert await event_queue.take() == [delta(1)]

    run(scenario)
