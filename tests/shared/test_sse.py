import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sse import HEARTBEAT, ServerSentEvent, SSEDecoder, SSEError, padding

BOM = b"\xef\xbb\xbf"

# Streams and their events, as (event, data, id). The first four are the examples of the standard:
# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
STREAMS = {
    "three data lines are one event": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [("message", b"YHOO\n+2\n10", "")],
    ),
    "comments, ids, an id reset, one leading space stripped": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            ("message", b"first event", "1"),
            ("message", b"second event", ""),
            ("message", b" third event", ""),
        ],
    ),
    "data without a colon, and an unterminated last event": (
        b"data\n\ndata\ndata\n\ndata:",
        [("message", b"", ""), ("message", b"\n", "")],
    ),
    "a space after the colon is not part of the data": (
        b"data:test\n\ndata: test\n\n",
        [("message", b"test", ""), ("message", b"test", "")],
    ),
    "a stream of OpenAI": (
        b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
        [("message", b'{"a":1}', ""), ("message", b'{"b":2}', ""), ("message", b"[DONE]", "")],
    ),
    "a stream of Anthropic": (
        b'event: ping\ndata: {"type": "ping"}\n\nevent: message_stop\ndata: {}\n\n',
        [("ping", b'{"type": "ping"}', ""), ("message_stop", b"{}", "")],
    ),
    "both formats and other lines": (
        b"event: a\ndata: 1\n\ndata: 2\n\nid: 3\ndata: 3\n\n: ping\n\nevent: b\ndata: 4\ndata: 5\n\n",
        [("a", b"1", ""), ("message", b"2", ""), ("message", b"3", "3"), ("b", b"4\n5", "3")],
    ),
    "lines ended by CR": (
        b"event: a\rdata: 1\r\rdata: 2\rdata: 3\r\r",
        [("a", b"1", ""), ("message", b"2\n3", "")],
    ),
    "lines ended by CRLF": (
        b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\ndata: 3\r\n\r\n",
        [("a", b"1", ""), ("message", b"2\n3", "")],
    ),
    "lines ended by all three": (
        b"data: 1\ndata: 2\rdata: 3\r\ndata: 4\r\n\ndata: 5\n\r\ndata: 6\r\r\ndata: 7\r\n\r",
        [("message", b"1\n2\n3\n4", ""), ("message", b"5", ""), ("message", b"6", ""), ("message", b"7", "")],
    ),
    "empty lines between events": (
        b"\n\n\ndata: 1\n\n\ndata: 2\n\n\n\n\ndata: 3\n\n\n",
        [("message", b"1", ""), ("message", b"2", ""), ("message", b"3", "")],
    ),
    "only the first byte order mark is dropped": (
        BOM + b"data: 1\n\n" + BOM + b"data: 2\n\ndata: " + BOM + b"\n\n",
        [("message", b"1", ""), ("message", BOM, "")],
    ),
    "two bytes of a byte order mark": (b"\xef\xbb: x\ndata: 1\n\n", [("message", b"1", "")]),
    "an event without data is dropped with its name": (
        b"event: lost\n\ndata: 1\n\n",
        [("message", b"1", "")],
    ),
    "an empty name is the default name": (
        b"event: \ndata: 1\n\nevent\ndata: 2\n\n",
        [("message", b"1", ""), ("message", b"2", "")],
    ),
    "the last name is used": (b"event: a\nevent: b\ndata: 1\n\n", [("b", b"1", "")]),
    "an id lasts until the next": (
        b"id: 7\n\ndata: 1\n\nevent: a\ndata: 2\n\nid: 8\ndata: 3\n\n",
        [("message", b"1", "7"), ("a", b"2", "7"), ("message", b"3", "8")],
    ),
    "an id with NUL is ignored": (
        b"id: 1\ndata: 1\n\nid: 2\x00\ndata: 2\n\n",
        [("message", b"1", "1"), ("message", b"2", "1")],
    ),
    "unknown fields, fields in capitals and with spaces are ignored": (
        b"foo: 1\nretry: 3000\nData: 2\n data: 3\ndata : 4\ndata: 5\nbar\n\n",
        [("message", b"5", "")],
    ),
    "colons beyond the first belong to the value": (b"data: a: b\nid:c:d\n\n", [("message", b"a: b", "c:d")]),
    "characters of several bytes": ("event: é\ndata: 😀\nid: ü\n\n".encode(), [("é", "😀".encode(), "ü")]),
    "a broken character in a name": (b"event: a\xff\ndata: \xff\n\n", [("a\ufffd", b"\xff", "")]),
    "an unterminated last event is dropped": (b"data: 1\n\nevent: a\ndata: 2\n", [("message", b"1", "")]),
}


@pytest.fixture(params=STREAMS.values(), ids=list(STREAMS))
def stream(request):
    return request.param


def decode(*reads: bytes):
    decoder = SSEDecoder()
    return [(e.event, e.data, e.id) for read in reads for e in decoder.feed(read)]


def test_a_stream_in_one_read(stream):
    data, events = stream
    assert decode(data) == events


def test_a_stream_split_at_every_byte(stream):
    data, events = stream
    for i in range(len(data) + 1):
        assert decode(data[:i], data[i:]) == events


def test_a_stream_byte_by_byte(stream):
    data, events = stream
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == events


def test_empty_reads_change_nothing(stream):
    data, events = stream
    assert decode(b"", *(read for i in range(len(data)) for read in (data[i : i + 1], b""))) == events


PIECES = [
    b"data: ",
    b"data:",
    b"event: ",
    b"id: ",
    b": ",
    b"x",
    b" ",
    b"\0",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    BOM,
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.integers(0, 60))
def test_the_fast_path_finds_the_same_events_as_the_slow_path(data, i):
    # Single bytes never take the fast path.
    assert decode(data) == decode(data[:i], data[i:]) == decode(*(data[i : i + 1] for i in range(len(data))))


def test_an_event_does_not_wait_for_the_lf_after_its_cr():
    assert decode(b"data: 1\r\r") == [("message", b"1", "")]
    assert decode(b"data: 1\r\n\r") == [("message", b"1", "")]


def feed_all(decoder: SSEDecoder, *reads: bytes) -> list[ServerSentEvent]:
    return [event for read in reads for event in decoder.feed(read)]


@pytest.mark.parametrize("read", [b"x", b"xx" * 50, b"data: " + b"x" * 300])
def test_a_line_without_an_end_is_refused(read):
    with pytest.raises(SSEError):
        feed_all(SSEDecoder(max_event_bytes=1000), *[read] * 1001)


@pytest.mark.parametrize("line", [b"data: x\n", b"data\n", b"data\r\n"])
def test_an_event_with_too_many_lines_is_refused(line):
    with pytest.raises(SSEError):
        feed_all(SSEDecoder(max_event_bytes=1000), *[line] * 1001)


def test_comments_and_names_do_not_count_towards_the_limit():
    decoder = SSEDecoder(max_event_bytes=100)
    for _ in range(1000):
        assert decoder.feed(b": ping\nevent: a\nfoo: bar\n") == []
    assert decoder.feed(b"data: 1\n\n") == [ServerSentEvent("a", b"1", "")]


def test_an_event_at_the_limit_is_accepted():
    data = b"data: 1\n\ndata: " + b"x" * 94 + b"\n\n"
    for i in range(len(data) + 1):
        events = feed_all(SSEDecoder(max_event_bytes=100), data[:i], data[i:])
        assert [len(event.data) for event in events] == [1, 94]


def test_the_limit_is_for_one_event_and_not_for_the_stream():
    data = b"data: 1\ndata: 2\n\n" * 100
    for size in (1, 7, 1000):
        reads = [data[i : i + size] for i in range(0, len(data), size)]
        assert len(feed_all(SSEDecoder(max_event_bytes=20), *reads)) == 100


@pytest.mark.parametrize("line", [b"data: ", b"event: ", b"", b":"])
def test_the_error_for_a_long_line_has_the_events_before_it(line):
    before = b"data: 1\n\n"
    data = before + line + b"x" * (101 - len(line)) + b"\n\ndata: 2\n\n"
    for i in range(len(before) + 101):
        decoder = SSEDecoder(max_event_bytes=100)
        events = decoder.feed(data[:i])
        with pytest.raises(SSEError) as caught:
            decoder.feed(data[i:])
        assert events + caught.value.events == [ServerSentEvent("message", b"1", "")]


def test_a_long_line_in_small_reads_takes_linear_time():
    def seconds(size: int) -> float:
        decoder = SSEDecoder(max_event_bytes=2 * size)
        reads = [b"data: ", *[b"x" * 16] * (size // 16)]
        start = time.process_time()
        for read in reads:
            decoder.feed(read)
        assert len(decoder.feed(b"\n\n")[0].data) == size
        return time.process_time() - start

    # Quadratic time would be 256 times as long.
    assert seconds(2**20) < 100 * max(seconds(2**16), 0.001)


def test_a_heartbeat_and_padding_are_not_events():
    assert HEARTBEAT == b": ping\n\n"
    assert decode(HEARTBEAT, padding(2048), b"data: 1\n\n") == [("message", b"1", "")]


def test_padding_has_the_given_size():
    assert [len(padding(size)) for size in (0, 1, 3, 4, 2048)] == [0, 3, 3, 4, 2048]
