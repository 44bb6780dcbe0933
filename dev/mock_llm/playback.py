"""Sends the answer of a script on a connection, with its pauses and faults."""

import asyncio
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from msgspec import Struct, structs

from dev.mock_llm.connection import Connection
from dev.mock_llm.scripts import Script
from dev.mock_llm.wire import JSON, VENDOR_WORDS, ChatRequest, VendorApi

PING_GAP = 0.05
ENDLESS_PIECE = b"a" * 65536
ENDLESS_PIECES = 1024
LAST_CHUNK = b"0\r\n\r\n"
HTML = b"<!DOCTYPE html>\n<html><body>Bad gateway</body></html>\n"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def play(api: VendorApi, request: ChatRequest, connection: Connection) -> None:
    """Sends an answer with status 200."""
    script = request.script
    if script.whole:
        request = structs.replace(request, stream=False)
    writes = _prepare(api, request)
    whole_answer = 0 if request.stream else script.first + script.gap * script.output
    await _pause(script.headers + whole_answer)
    if script.fault == "no-headers":
        await _silence()
    connection.write(writes.head)
    if script.fault == "no-body":
        await _silence()
    await _send(writes.opening, script, connection)
    await _pause(script.first if request.stream else 0)
    await _send(writes.before, script, connection, gap=script.gap)
    if script.fault:
        await _play_fault(api, script, connection, writes)
        return
    await _end(writes, script, connection)


async def _play_fault(api: VendorApi, script: Script, connection: Connection, writes: "Writes") -> None:
    match script.fault:
        case "hang":
            await _silence()
        case "pings":
            await _ping_for_ever(_frame(api.ping, script), connection)
        case "error":
            connection.write(_frame(api.error_event, script) + LAST_CHUNK)
        case "html" | "error-body":
            await _end(writes, script, connection)
        case "truncate":
            connection.write(LAST_CHUNK)
        case "bad-json":
            connection.write(_frame(api.bad_event, script))
            await _end(writes, script, connection)
        case "endless-line":
            await _send_endless_line(api, connection)
        case "cut" | "reset":
            await _break_connection(script, connection, writes)


async def _end(writes: "Writes", script: Script, connection: Connection) -> None:
    await _send(writes.after, script, connection, gap=script.gap)
    await _send(writes.end, script, connection)
    connection.write(LAST_CHUNK)


async def _send(pieces: Iterable[bytes], script: Script, connection: Connection, *, gap: float = 0) -> None:
    # The times of all writes are fixed at the start, so that the pace does not depend on the load.
    clock = asyncio.get_running_loop().time
    due = clock()
    for i, piece in enumerate(pieces):
        if gap and i:
            due += gap
            await asyncio.sleep(due - clock())
        connection.write(piece)
        if script.chunk:
            await asyncio.sleep(0)  # Otherwise a reader in this event loop gets all chunks in one read.
        await connection.flush()


async def _pause(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def _silence() -> None:
    await asyncio.get_running_loop().create_future()


async def _ping_for_ever(ping: bytes, connection: Connection) -> None:
    while True:
        connection.write(ping)
        await asyncio.sleep(PING_GAP)


async def _send_endless_line(api: VendorApi, connection: Connection) -> None:
    connection.write(_chunk(api.endless))
    for _ in range(ENDLESS_PIECES):
        connection.write(_chunk(ENDLESS_PIECE))
        await connection.flush()
    connection.close()


async def _break_connection(script: Script, connection: Connection, writes: "Writes") -> None:
    piece = (*writes.after, *writes.end)[0]
    connection.write(piece[: len(piece) // 2])
    await connection.flush()
    if script.fault == "reset":
        connection.reset()
    else:
        connection.close()


class Writes(Struct, frozen=True):
    """The bytes of each write: the opening, the tokens before and after the fault, and the end."""

    head: bytes
    opening: tuple[bytes, ...]
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    end: tuple[bytes, ...]


@lru_cache(maxsize=32)
def _prepare(api: VendorApi, request: ChatRequest) -> Writes:
    """Cached, so that benchmarks do not measure this work."""
    script = request.script
    if script.fault == "html":
        return Writes(_head("text/html", script), (), (), (), (_chunk(HTML),))
    if script.fault == "error-body":
        body = api.error(500, VENDOR_WORDS)[1]
        return Writes(_head(JSON, script), (), (), (), (_chunk(body),))
    answer = api.answer(request)
    kept = script.after if script.fault else len(answer.text)
    end = (*answer.end, *answer.end_mark)
    if script.no_end:
        end = (*answer.end[:-1], answer.end[-1].rstrip(b"\n"))
    compressor = None
    if script.encoding != "identity":
        compressor = zlib.compressobj(wbits=WINDOW_BITS[script.encoding])
    return Writes(
        _head(answer.content_type, script),
        tuple(_cut(answer.opening, script, compressor)),
        tuple(_cut(answer.thinking + answer.text[:kept], script, compressor)),
        tuple(_cut(answer.text[kept:], script, compressor)),
        (*_cut(end, script, compressor), *([_chunk(compressor.flush())] if compressor else [])),
    )


def _head(content_type: str, script: Script) -> bytes:
    encoding = "" if script.encoding == "identity" else f"content-encoding: {script.encoding}\r\n"
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{encoding}cache-control: no-cache\r\n"
        "request-id: req_mock\r\nx-request-id: req_mock\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()


def _cut(
    events: tuple[bytes, ...], script: Script, compressor: "zlib._Compress | None" = None
) -> Iterator[bytes]:
    for start in range(0, len(events), script.coalesce):
        data = b"".join(events[start : start + script.coalesce])
        if script.crlf:
            data = data.replace(b"\n", b"\r\n")
        if compressor:
            data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        size = script.chunk or len(data)
        for at in range(0, len(data), size):
            yield _chunk(data[at : at + size])


def _frame(event: bytes, script: Script) -> bytes:
    return b"".join(_cut((event,), script))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
