"""The bytes of event stream frames, and how an independent reader parses them."""

import json

import httpx
import httpx_sse
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.chat_stream.dialects.frames import frame, frame_template, json_text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (frame(b"[DONE]"), b"data: [DONE]\n\n"),
        (frame(b"{}", event=b"error"), b"event: error\ndata: {}\n\n"),
        (frame(b"{}", id=b"5"), b"id: 5\ndata: {}\n\n"),
        (frame(b"%b", id=b"%d") % (5, b"{}"), b"id: 5\ndata: {}\n\n"),
        (b"{}".join(frame_template(b'{"a":', b"}")), b'data: {"a":{}}\n\n'),
        (b"{}".join(frame_template(b"<%d>", b"", event=b"x")), b"event: x\ndata: <%d>{}\n\n"),
        (json_text('a\n"b"'), rb'"a\n\"b\""'),
        (json_text("a\u2028b\u2029c\u0085d"), b'"a\\u2028b\\u2029c\\u0085d"'),
        (json_text("日本"), '"日本"'.encode()),
    ],
)
def test_the_bytes_of_a_frame(written, expected):
    assert written == expected


@given(st.text(), st.text(alphabet=st.characters(min_codepoint=97, max_codepoint=122), min_size=1))
def test_a_reader_parses_any_text_as_one_event(text, event):
    written = frame(json_text(text), event=event.encode(), id=b"7")
    assert len(written.decode().splitlines()) == 4
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=written)
    [read] = httpx_sse.EventSource(response).iter_sse()
    assert (read.event, read.id, json.loads(read.data)) == (event, "7", text)
