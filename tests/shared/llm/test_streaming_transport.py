"""The transport with servers that send literal bytes, split at every position."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest

from shared.llm.streaming_transport import StreamingTransport

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Two: a\r\nX-Two: b\r\n\r\nHello"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@asynccontextmanager
async def server_with(*answers, close=False, pieces=None):
    """A server that sends one answer for each request. Yields its URL and the list of its connections."""
    remaining = list(answers)
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        while remaining:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            answer = remaining.pop(0)
            for piece in pieces(answer) if pieces else [answer]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                break
        if close:
            writer.close()
        else:
            await reader.read()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?q=1", connections
    finally:
        server.close()
        for writer in connections:
            writer.close()


def run(scenario, **options):
    async def main():
        transport = StreamingTransport(ssl.create_default_context(), keep_alive=55, **options)
        async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:
            return await asyncio.wait_for(scenario(client), 10)

    return asyncio.run(main())


async def ask(client, url):
    async with client.stream("POST", url, json={"a": 1}) as response:
        return response, b"".join([piece async for piece in response.aiter_raw()])


@pytest.mark.parametrize("answer", [CHUNKED, SIZED], ids=["chunked", "sized"])
def test_an_answer_is_the_same_for_every_split(answer):
    async def scenario(client):
        whole = b"Hello world" if answer is CHUNKED else b"Hello"
        for split in range(1, len(answer)):
            async with server_with(answer, pieces=lambda a, split=split: [a[:split], a[split:]]) as (url, _):
                response, body = await ask(client, url)
                assert (response.status_code, body) == (200, whole)
        async with server_with(answer, pieces=lambda a: [a[i : i + 1] for i in range(len(a))]) as (url, _):
            assert (await ask(client, url))[1] == whole

    run(scenario)


def test_repeated_headers_are_kept():
    async def scenario(client):
        async with server_with(SIZED) as (url, _):
            response, _ = await ask(client, url)
            assert response.headers.get_list("x-two") == ["a", "b"]

    run(scenario)


def test_the_chunks_of_one_read_are_one_piece():
    async def scenario(client):
        async with server_with(CHUNKED) as (url, _), client.stream("GET", url) as response:
            assert [piece async for piece in response.aiter_raw()] == [b"Hello world"]

    run(scenario)


def test_an_answer_without_a_length_ends_with_its_connection():
    async def scenario(client):
        async with server_with(b"HTTP/1.1 200 OK\r\n\r\nHello", close=True) as (url, _):
            assert (await ask(client, url))[1] == b"Hello"

    run(scenario)


def test_an_interim_answer_is_ignored():
    async def scenario(client):
        async with server_with(b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" + SIZED) as (url, _):
            response, body = await ask(client, url)
            assert (response.status_code, body) == (200, b"Hello")
            assert "x-early" not in response.headers

    run(scenario)


def test_a_connection_is_used_again_after_a_whole_answer():
    async def scenario(client):
        async with server_with(SIZED, CHUNKED, SIZED) as (url, connections):
            bodies = [(await ask(client, url))[1] for _ in range(3)]
            assert bodies == [b"Hello", b"Hello world", b"Hello"]
            assert len(connections) == 1

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        SIZED.replace(b"X-Two: a", b"Connection: close"),
        SIZED + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nForged",
        SIZED + b"stray",
    ],
    ids=["close", "second-answer", "stray-bytes"],
)
def test_a_connection_is_not_used_again_after_a_close_or_extra_bytes(answer):
    async def scenario(client):
        async with server_with(answer, SIZED) as (url, connections):
            assert (await ask(client, url))[1] == b"Hello"
            await asyncio.sleep(0.05)
            assert (await ask(client, url))[1] == b"Hello"
            assert len(connections) == 2

    run(scenario)


def test_data_on_an_idle_connection_is_not_used_as_an_answer():
    async def scenario(client):
        async with server_with(SIZED, SIZED) as (url, connections):
            await ask(client, url)
            connections[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nForged")
            await connections[0].drain()
            await asyncio.sleep(0.05)
            assert (await ask(client, url))[1] == b"Hello"
            assert len(connections) == 2

    run(scenario)


def test_a_connection_is_closed_if_its_answer_was_not_read_to_the_end():
    async def scenario(client):
        async with server_with(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHello", SIZED) as (
            url,
            connections,
        ):
            async with client.stream("GET", url) as response:
                async for _ in response.aiter_raw():
                    break
            assert (await ask(client, url))[1] == b"Hello"
            assert len(connections) == 2

    run(scenario)


def test_a_connection_is_not_used_again_after_a_long_idle_time():
    clock = Clock()

    async def scenario(client):
        async with server_with(SIZED, SIZED, SIZED) as (url, connections):
            await ask(client, url)
            clock.now += 54
            await ask(client, url)
            clock.now += 56
            await ask(client, url)
            assert len(connections) == 2

    run(scenario, now=clock)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nHello", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 100_000, httpx.RemoteProtocolError),
    ],
)
def test_a_malformed_answer_raises_an_error_of_httpx(answer, error):
    async def scenario(client):
        async with server_with(answer, close=True) as (url, _):
            with pytest.raises(error):
                await ask(client, url)

    run(scenario)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nobody.invalid/"])
def test_a_server_that_cannot_be_reached_is_a_connect_error(url):
    async def scenario(client):
        with pytest.raises(httpx.ConnectError):
            await client.get(url)

    run(scenario)


def test_a_slow_reader_slows_the_server_down():
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"

    async def scenario(client):
        async with server_with(big, pieces=lambda a: [a, *[b"x" * 1_000_000] * 50]) as (url, connections):
            async with client.stream("GET", url) as response:
                await asyncio.sleep(0.3)
                # Socket buffers and the read-ahead limit hold only a part of the answer.
                assert connections[0].transport.get_write_buffer_size() > 0
                assert sum([len(piece) async for piece in response.aiter_raw()]) == 50_000_000

    run(scenario)
