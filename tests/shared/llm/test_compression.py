import asyncio
import zlib
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.llm.compression import decompressed

GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
TEXT = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n' * 50


class Body(httpx.AsyncByteStream):
    def __init__(self, *pieces):
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self):
        for piece in self.pieces:
            yield piece

    async def aclose(self):
        self.closed = True


def compress(data, wbits=GZIP):
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(data) + compressor.flush()


def response(encoding, *pieces):
    return decompressed(httpx.Response(200, headers={"content-encoding": encoding}, stream=Body(*pieces)))


def read(encoding, *pieces):
    """The pieces that the reader gets."""

    async def main():
        return [piece async for piece in response(encoding, *pieces).stream]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("encoding", "wbits"),
    [("gzip", GZIP), ("x-gzip", GZIP), (" GZIP", GZIP), ("deflate", ZLIB), ("deflate", RAW)],
)
@given(st.lists(st.integers(0, 200), max_size=5))
def test_every_split_gives_the_same_data(encoding, wbits, splits):
    body = compress(TEXT, wbits)
    positions = [0, *sorted(min(at, len(body)) for at in splits), len(body)]
    pieces = [body[a:b] for a, b in pairwise(positions)]
    assert b"".join(read(encoding, *pieces)) == TEXT


def test_data_is_returned_as_soon_as_the_server_flushes_it():
    compressor = zlib.compressobj(wbits=GZIP)
    flushed = [compressor.compress(word) + compressor.flush(zlib.Z_SYNC_FLUSH) for word in (b"one", b"two")]
    assert read("gzip", *flushed) == [b"one", b"two"]


def test_several_members_are_one_body():
    assert b"".join(read("gzip", compress(b"one") + compress(b"two"))) == b"onetwo"


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_body_that_is_not_compressed_is_unchanged(encoding):
    body = Body(b"data")
    plain = httpx.Response(200, headers={"content-encoding": encoding}, stream=body)
    assert decompressed(plain) is plain


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"data"),
        ("zstd", b"data"),
        ("gzip, gzip", compress(b"data")),
        ("gzip", b"data: {}\n\n"),
        ("deflate", b"data: {}\n\n"),
        ("gzip", compress(b"data") + b"more"),
    ],
)
def test_a_body_that_cannot_be_decompressed_is_an_error(encoding, body):
    with pytest.raises(httpx.DecodingError):
        read(encoding, body)


def test_large_data_comes_in_bounded_pieces():
    data = b"".join(str(number).encode() for number in range(300_000))
    pieces = read("gzip", compress(data))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 262_144


@pytest.mark.parametrize("wbits", [GZIP, ZLIB])
def test_a_body_that_grows_to_a_multiple_of_its_size_is_an_error(wbits):
    bomb = compress(b" " * 50_000_000, wbits)
    returned = 0

    async def main():
        nonlocal returned
        async for piece in response("gzip" if wbits == GZIP else "deflate", bomb).stream:
            returned += len(piece)

    with pytest.raises(httpx.DecodingError):
        asyncio.run(main())
    assert returned < 1024 * 1024 + 200 * len(bomb)


def test_closing_closes_the_compressed_body():
    body = Body(b"data")
    stream = decompressed(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).stream
    assert isinstance(stream, httpx.AsyncByteStream)
    asyncio.run(stream.aclose())
    assert body.closed
