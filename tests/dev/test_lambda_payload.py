import json

import pytest

from dev.lambda_payload import MalformedPayload, PayloadReader, ResponseHead

NULS = bytes(8)


def read(*pieces, streaming=True):
    reader = PayloadReader(streaming=streaming)
    read = [part for piece in pieces for part in reader.feed(piece)]
    return read + list(reader.close())


def test_a_streamed_payload_is_a_head_and_the_pieces_as_received():
    head = b'{"statusCode":201,"headers":{"Content-Type":"text/plain"},"cookies":["a=1","b=2"]}'
    assert read(head + NULS, b"one", b"two") == [
        ResponseHead(201, [("Content-Type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        b"one",
        b"two",
    ]


def test_a_streamed_payload_may_be_split_anywhere():
    payload = b'{"headers":{"content-type":"text/plain"}}' + NULS + b"the body"
    for at in range(len(payload)):
        head, *body = read(payload[:at], payload[at:])
        assert head == ResponseHead(200, [("content-type", "text/plain")])
        assert b"".join(body) == b"the body"


def test_only_the_first_eight_nuls_are_the_delimiter():
    assert read(b"{}" + NULS + NULS + b"x")[1:] == [NULS + b"x"]


def test_the_delimiter_must_be_in_the_first_16_kilobytes():
    def of_length(size):
        return b'{"headers":{"x":"%b"}}' % (b"y" * (size - len(b'{"headers":{"x":""}}'))) + NULS

    assert isinstance(read(of_length(16384 - 8))[0], ResponseHead)
    for payload in (of_length(16385 - 8), b"x" * 16385):
        with pytest.raises(MalformedPayload):
            read(payload)


def test_a_malformed_streamed_payload_is_refused():
    for payload in (
        b"",
        b"no delimiter",
        b"no json" + NULS,
        b"[]" + NULS,
        b'{"statusCode":"many"}' + NULS,
        b'{"statusCode":99}' + NULS,
        b'{"headers":["x"]}' + NULS,
    ):
        with pytest.raises(MalformedPayload):
            read(payload)


def test_a_buffered_payload_is_one_object():
    response = {
        "statusCode": 200,
        "headers": {"X-One": "1", "x-several": "lost"},
        "multiValueHeaders": {"X-Several": ["2", "3"]},
        "body": "AP8=",
        "isBase64Encoded": True,
    }
    assert read(json.dumps(response).encode(), streaming=False) == [
        ResponseHead(
            200,
            [("X-One", "1"), ("X-Several", "2"), ("X-Several", "3"), ("content-type", "application/json")],
        ),
        b"\0\xff",
    ]


def test_a_malformed_buffered_payload_is_refused():
    for payload in (b"", b"null", b'"text"', b"{}", b'{"statusCode":200,"headers":7}'):
        with pytest.raises(MalformedPayload):
            read(payload, streaming=False)
