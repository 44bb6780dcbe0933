import asyncio
import socket
import struct

import pytest

from shared.lambda_runtime.loop import serve
from shared.lambda_runtime.runtime_api import RuntimeApi, encode_prelude
from tests.shared.lambda_runtime.scripted_runtime_api import (
    ACCEPTED,
    GET_HEALTH,
    GONE,
    TRUNCATED,
    body,
    invocation,
    ok,
    scripted_api,
    serving,
    start,
)

# The response


def test_the_bytes_of_a_streamed_response():
    async def app(scope, receive, send):
        await start(send, 200, (b"content-type", b"text/event-stream"))
        await body(send, b"data: Hello\n\n", more=True)
        await body(send, "data: Wörld\n\n".encode(), more=True)
        await body(send)

    async def main():
        event = invocation(GET_HEALTH, "req-1", "Lambda-Runtime-Invocation-Id: inv-1")
        async with scripted_api(event) as api, serving(app, api):
            return await api.posted(1)

    assert asyncio.run(main()) == [
        (
            b"POST /2018-06-01/runtime/invocation/req-1/response HTTP/1.1\r\n"
            b"Host: 127.0.0.1:PORT\r\n"
            b"User-Agent: serverless-chat\r\n"
            b"Lambda-Runtime-Function-Response-Mode: streaming\r\n"
            b"Content-Type: application/vnd.awslambda.http-integration-response\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
            b"Lambda-Runtime-Invocation-Id: inv-1\r\n"
            b"\r\n"
            b'49\r\n{"statusCode":200,"headers":{"content-type":"text/event-stream"}}'
            b"\0\0\0\0\0\0\0\0\r\n"
            b"d\r\ndata: Hello\n\n\r\n"
            b"e\r\ndata: W\xc3\xb6rld\n\n\r\n"
            b"0\r\n\r\n"
        )
    ]


def test_the_prelude_is_sent_before_the_body():
    async def main():
        prelude_sent = asyncio.Event()

        async def app(scope, receive, send):
            await start(send)
            await asyncio.wait_for(prelude_sent.wait(), 20)
            await body(send, b"then the body")

        async def script(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            first = await reader.readuntil(bytes(8) + b"\r\n")
            prelude_sent.set()
            rest = await reader.readuntil(b"0\r\n\r\n")
            writer.write(ACCEPTED)
            chunks.put_nowait((first, rest))

        chunks: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        async with scripted_api(invocation(GET_HEALTH), script=script) as api, serving(app, api):
            return await asyncio.wait_for(chunks.get(), 20)

    first, rest = asyncio.run(main())
    assert first == b'27\r\n{"statusCode":200,"headers":{}}' + bytes(8) + b"\r\n"
    assert rest == b"d\r\nthen the body\r\n0\r\n\r\n"


def test_cookies_stay_separate_and_other_repeated_headers_are_joined():
    prelude = encode_prelude(
        201,
        [
            (b"Set-Cookie", b"a=1; Path=/"),
            (b"Vary", b"Origin"),
            (b"set-cookie", b"b=2"),
            (b"vary", b"Accept"),
            (b"X-Name", b"caf\xe9"),
        ],
    )
    assert prelude == (
        b'{"statusCode":201,"headers":{"vary":"Origin, Accept","x-name":"caf\\u00e9"},'
        b'"cookies":["a=1; Path=/","b=2"]}\0\0\0\0\0\0\0\0'
    )


def test_a_nul_in_a_header_does_not_end_the_prelude():
    prelude = encode_prelude(200, [(b"x", bytes(8))])
    assert prelude.index(bytes(8)) == len(prelude) - 8


def test_headers_of_the_connection_are_left_out():
    headers = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"content-length", b"2")]
    assert encode_prelude(200, headers) == b'{"statusCode":200,"headers":{"content-length":"2"}}' + bytes(8)


def test_the_prelude_has_at_most_16_kilobytes():
    overhead = len(encode_prelude(200, [(b"x", b"")]))
    assert len(encode_prelude(200, [(b"x", b"y" * (16384 - overhead))])) == 16384
    with pytest.raises(ValueError, match="16384"):
        encode_prelude(200, [(b"x", b"y" * (16385 - overhead))])


# Answers of Lambda


async def read_all(reader):
    end = b""
    while not end.endswith(b"\r\n0\r\n\r\n"):
        end = end[-7:] + await reader.read(1_000_000)


async def accept(reader, writer):
    await read_all(reader)
    writer.write(ACCEPTED)


async def refuse_as_truncated(reader, writer):
    await read_all(reader)
    writer.write(TRUNCATED)


async def refuse_as_gone_at_once(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(GONE)
    await writer.drain()
    await asyncio.Event().wait()


async def refuse_as_gone_after_a_pause(reader, writer):
    await asyncio.sleep(0.3)
    writer.write(GONE)
    await writer.drain()
    await asyncio.Event().wait()


async def close(reader, writer):
    writer.close()


async def reset(reader, writer):
    no_linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


@pytest.mark.parametrize(
    "answer",
    [accept, refuse_as_truncated, refuse_as_gone_at_once, refuse_as_gone_after_a_pause, close, reset],
)
def test_the_app_completes_and_the_loop_continues_after_every_answer_of_lambda(answer):
    async def main():
        done = 0

        async def app(scope, receive, send):
            nonlocal done
            await start(send)
            # This is more than socket buffers hold, so an early answer must end the wait for the buffer.
            for _ in range(150):
                await body(send, bytes(100_000), more=True)
                await asyncio.sleep(0)
            await body(send)
            done += 1

        invocations = [invocation(GET_HEALTH, "req-1"), invocation(GET_HEALTH, "req-2")]
        async with scripted_api(*invocations, script=answer) as api, serving(app, api):
            requests = await api.requested(5)
        return requests, done

    requests, done = asyncio.run(main())
    assert requests == [
        "GET /invocation/next",
        "POST /invocation/req-1/response",
        "GET /invocation/next",
        "POST /invocation/req-2/response",
        "GET /invocation/next",
    ]
    assert done == 2


def test_an_app_waits_while_lambda_reads_slowly():
    async def main():
        sent = 0

        async def app(scope, receive, send):
            nonlocal sent
            await start(send)
            for _ in range(300):
                await body(send, bytes(100_000), more=True)
                sent += 1
            await body(send)

        async def script(reader, writer):
            before = -1
            while before != sent:  # until the app waits
                before = sent
                await asyncio.sleep(0.1)
            sent_before_reading.set_result(sent)
            await accept(reader, writer)

        sent_before_reading = asyncio.get_running_loop().create_future()
        async with scripted_api(invocation(GET_HEALTH), script=script) as api, serving(app, api):
            await api.requested(3)
            return await sent_before_reading, sent

    sent_before_reading, sent = asyncio.run(main())
    assert 0 < sent_before_reading < 150
    assert sent == 300


# Invocations


def test_all_invocations_use_one_connection():
    async def main():
        answers = [invocation(GET_HEALTH, f"req-{number}") for number in range(3)]
        async with scripted_api(*answers) as api, serving(ok, api):
            await api.requested(7)
            return api.connections

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize(
    "first",
    [
        invocation(GET_HEALTH, "req-1", "Connection: close"),
        # A response without a request must not be read as the response to the next request.
        invocation(GET_HEALTH, "req-1") + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["closed", "unexpected response"],
)
def test_a_closing_or_unsynchronised_connection_is_not_used_again(first):
    async def main():
        async with scripted_api(first, invocation(GET_HEALTH, "req-2")) as api, serving(ok, api):
            await api.posted(2)
            return api.connections

    assert asyncio.run(main()) == 2


def test_a_broken_connection_to_next_is_opened_again():
    async def main():
        async with scripted_api(b"", b"HTTP/1.1 200", invocation(GET_HEALTH)) as api, serving(ok, api):
            await api.posted(1)
            return api.requests

    assert asyncio.run(main())[:4] == [*["GET /invocation/next"] * 3, "POST /invocation/req-1/response"]


def test_the_runtime_ends_when_the_api_refuses_a_request():
    async def main():
        refusal = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        async with scripted_api(refusal) as api:
            await serve(ok, RuntimeApi(api.address), {})

    asyncio.run(main())


def test_the_runtime_ends_when_the_api_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    asyncio.run(serve(ok, RuntimeApi(address), {}))
