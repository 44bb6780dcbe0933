"""The end of a turn after a settlement elsewhere, at the deadline, and without the database."""

import asyncio
import time
from uuid import uuid4

import httpx_sse
import pytest

from functions.chat_stream.answer_replay import AnswerReplay
from functions.chat_stream.dialects.base import AnswerMeta
from functions.chat_stream.dialects.web_app import WebAppDialect
from functions.chat_stream.event_queue import EventQueue
from functions.chat_stream.json_response import JSONAnswerResponse
from functions.chat_stream.records import Settlement, StoredAnswer
from functions.chat_stream.store import TurnStore
from functions.chat_stream.timeouts import SAVING_SECONDS, Timeouts
from shared.db import Database
from shared.errors import Unavailable
from shared.events import Started, TextDelta
from shared.settings import load_settings
from tests import virtual_time
from tests.serving import Client, mocked, serve, settings

USER = uuid4()
SETTLE = "update turns set status = 'interrupted', settled_at = now() where status = 'running'"


def settings_for(database, mock, script):
    return load_settings(mocked(database.url, mock, f"openai/mock:{script}"))


def test_an_answer_whose_turn_was_settled_elsewhere_ends_with_an_error(database, mock):
    """The answer ends before its first checkpoint, so only `finish` sees the other settlement."""
    with serve(settings_for(database, mock, "tokens=4,gap=120ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            types = [next(events).json()["type"]]
            database.rows(SETTLE)
            types += [event.json()["type"] for event in events]
    assert types[-1] == "error"
    assert "done" not in types


def test_a_turn_that_was_settled_elsewhere_closes_the_model_connection(database, mock):
    mock.reset()
    with serve(settings_for(database, mock, "tokens=2000,gap=20ms")) as url, Client(url, USER) as client:
        with client.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            events = httpx_sse.EventSource(response).iter_sse()
            next(events)
            database.rows(SETTLE)
            seen = [event.json() for event in events]
        assert seen[-1]["type"] == "error"
        while mock.stats()["open"]:  # until the connection to the provider is closed
            time.sleep(0.02)
    assert len(seen) < 1000


def test_an_idempotency_key_is_refused_on_another_route(database, mock):
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    key = {"idempotency-key": "a-key"}
    with serve(settings_for(database, mock, "tokens=3")) as url, Client(url, USER) as client:
        assert client.post("/stream-chat", json=body, headers=key).status_code == 200
        other = client.post("/api/chat", json=body, headers=key)
        same = client.post("/stream-chat", json=body, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert (same.status_code, same.json()["code"]) == (409, "conflict")


class UnreachableDatabase(Database):
    """A database that cannot be reached before the time `back_at` of the event loop."""

    def __init__(self, back_at):
        super().__init__(settings("postgresql://").database)
        self.back_at = back_at

    async def call(self, *_, **__):
        if asyncio.get_running_loop().time() < self.back_at:
            raise Unavailable("the database cannot be reached")
        return "complete"


class EndlessAnswerStore(TurnStore):
    """A store with an answer that grows with each read and never ends."""

    def __init__(self):
        super().__init__(UnreachableDatabase(back_at=0), settings("postgresql://"))

    async def read(self, user_id, answer_id, offset):
        return StoredAnswer("streaming", "x", offset + 1, uuid4(), {}, None)


def test_a_replay_stops_before_the_deadline_without_an_end_event():
    async def main():
        deadline = SAVING_SECONDS + 2
        timeouts = Timeouts(arrived_at=0, start_until=3, first_token=20, idle=30, deadline=deadline)
        store = EndlessAnswerStore()
        first = await store.read(USER, USER, 0)
        replay = AnswerReplay(store, USER, USER, first, offset=0, timeouts=timeouts)
        async with asyncio.timeout(60):
            await replay.run()
        return asyncio.get_running_loop().time(), await replay.events.take(), replay.events.exhausted

    ended_at, events, exhausted = virtual_time.run(main())
    assert 2 <= ended_at < 3
    assert {type(event) for event in events} == {Started, TextDelta}
    assert exhausted


def test_a_json_response_without_an_end_event_is_503():
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    async def main():
        events = EventQueue()
        events.put([Started(str(USER)), TextDelta("half an ans")])
        events.close()
        meta = AnswerMeta(str(USER), "openai/some-model", 1_700_000_000)
        producer = asyncio.create_task(asyncio.sleep(0))
        response = JSONAnswerResponse(events, WebAppDialect(), producer, meta=meta, headers={})
        await response({"type": "http"}, receive, send)

    virtual_time.run(main())
    assert sent[0]["status"] == 503
    assert b"half" not in sent[1]["body"]


def finish(*, back_at, waits_for_failover, deadline=None):
    """Returns the status or error code of a save, and the time at which it ended."""

    async def main():
        store = TurnStore(UnreachableDatabase(back_at), settings("postgresql://"))
        settlement = Settlement(
            user_id=USER,
            answer_id=USER,
            status="complete",
            content="Hi",
            token_count=1,
            metadata={},
            usage=[],
        )
        try:
            result = await store.finish(settlement, deadline, wait_for_failover=waits_for_failover)
        except Unavailable as error:
            result = error.code
        return result, asyncio.get_running_loop().time()

    return virtual_time.run(main())


@pytest.mark.parametrize(
    ("options", "result", "earliest", "latest"),
    [
        ({"back_at": 0, "waits_for_failover": False}, "complete", 0, 0),
        ({"back_at": 3, "waits_for_failover": False}, "complete", 3, 4),
        ({"back_at": 25, "waits_for_failover": False}, "unavailable", 3, 5),
        ({"back_at": 25, "waits_for_failover": True}, "complete", 25, 28),
        ({"back_at": 60, "waits_for_failover": True}, "unavailable", 28, 31),
        ({"back_at": 25, "waits_for_failover": True, "deadline": 10}, "unavailable", 8, 9),
    ],
)
def test_a_save_with_text_is_retried_for_thirty_seconds_up_to_the_deadline(options, result, earliest, latest):
    status, ended_at = finish(**options)
    assert status == result
    assert earliest <= ended_at <= latest


def test_an_hour_of_virtual_time_takes_less_than_a_minute():
    started = time.monotonic()
    assert virtual_time.run(asyncio.sleep(3600, "slept")) == "slept"
    assert time.monotonic() - started < 60
