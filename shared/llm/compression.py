"""Decompresses answers of servers that compress without being asked."""

import zlib
from collections.abc import AsyncIterator
from typing import cast

import httpx

# The most bytes of one piece for the reader.
_PIECE_BYTES = 262_144
# Token streams are compressed to a hundredth at most. A body that is smaller yet is an attack or a fault.
_MAX_RATIO = 200
_FREE_BYTES = 1024 * 1024

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def decompressed(response: httpx.Response) -> httpx.Response:
    """The response with a decompressed stream. A response that is not compressed is returned unchanged.

    The stream raises httpx's DecodingError for broken data, for data that grows to more than 200 times its
    size, and for a compression other than gzip and deflate.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return response
    stream = _DecompressedStream(cast("httpx.AsyncByteStream", response.stream), encoding)
    return httpx.Response(response.status_code, headers=response.headers, stream=stream)


class _DecompressedStream(httpx.AsyncByteStream):
    def __init__(self, compressed: httpx.AsyncByteStream, encoding: str) -> None:
        self._compressed = compressed
        self._encoding = encoding
        self._received = 0
        self._returned = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._encoding not in {"gzip", "x-gzip", "deflate"}:
            raise httpx.DecodingError("the compression of the answer is not supported")
        inflater = None
        async for data in self._compressed:
            self._received += len(data)
            has_more = False
            while data or has_more:
                if inflater is None or inflater.eof:
                    inflater = zlib.decompressobj(self._window_bits(data))
                try:
                    piece = inflater.decompress(data, _PIECE_BYTES)
                except zlib.error as error:
                    raise httpx.DecodingError("the answer cannot be decompressed") from error
                data = inflater.unconsumed_tail or inflater.unused_data  # noqa: PLW2901
                has_more = len(piece) == _PIECE_BYTES and not inflater.eof
                self._returned += len(piece)
                if self._returned > _FREE_BYTES + _MAX_RATIO * self._received:
                    raise httpx.DecodingError("the answer is compressed too well")
                if piece:
                    yield piece

    async def aclose(self) -> None:
        await self._compressed.aclose()

    def _window_bits(self, data: bytes) -> int:
        """`deflate` has a zlib header, which some servers leave out."""
        if self._encoding != "deflate":
            return _GZIP
        has_header = data[0] & 0x0F == zlib.DEFLATED and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
        return _ZLIB if has_header else _RAW
