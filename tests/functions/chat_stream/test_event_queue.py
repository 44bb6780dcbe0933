import asyncio

from functions.chat_stream.event_queue import EventQueue
from shared.events import TextDelta


def run(scenario):
    return asyncio.run(scenario())


def delta(number):
    return TextDelta(str(number))


def test_take_returns_all_events_in_order():
    async def scenario():
        event_queue = EventQueue()
        event_queue.put([delta(1), delta(2)])
        event_queue.put([delta(3)])
        event_queue.close()
        assert await event_queue.take() == [delta(1), delta(2), delta(3)]
        assert await event_queue.take() is None

    run(scenario)


def test_take_waits_for_the_first_event():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        assert not reader.done()
        event_queue.put([delta(1)])
        assert await reader == [delta(1)]

    run(scenario)


def test_wake_makes_a_waiting_take_return_no_events():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        event_queue.wake()
        assert await reader == []
        # One wake ends one take.
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        assert not reader.done()
        event_queue.close()
        assert await reader is None

    run(scenario)


def test_put_never_waits_and_an_abandoned_queue_keeps_no_events():
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


def test_a_cancelled_take_leaves_the_queue_usable():
    async def scenario():
        event_queue = EventQueue()
        reader = asyncio.create_task(event_queue.take())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        event_queue.put([delta(1)])
        assert await event_queue.take() == [delta(1)]

    run(scenario)
