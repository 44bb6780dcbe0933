# ruff: noqa: ASYNC110, ASYNC230, ASYNC240, T201 (a test steers these functions by files and reads their output)
"""Functions for the emulator's tests: an ASGI app for this project's runtime, and handlers for AWS's runtime.

The app waits for files and writes files where a test wants to see or steer what happens inside.
"""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs

running: set[int] = set()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    running.add(id(scope))
    try:
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        await ROUTES[scope["path"]](scope, query, receive, send)
    finally:
        running.discard(id(scope))


async def respond(send, content, *headers, status=200):
    head = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    await send({"type": "http.response.body", "body": body})


async def begin(send):
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def token(send, data, *, more=True):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def wait_for_file(path):
    while not Path(path).exists():
        await asyncio.sleep(0.01)


async def process(scope, query, receive, send):
    """Responds with the id of the process and the number of its running requests."""
    if "until" in query:
        await wait_for_file(query["until"])
    await respond(send, {"pid": os.getpid(), "running": len(running)})


async def event(scope, query, receive, send):
    await respond(send, scope["aws.event"])


async def environment(scope, query, receive, send):
    await respond(send, dict(os.environ))


async def context(scope, query, receive, send):
    await respond(send, scope["aws.context"].get_remaining_time_in_millis())


async def echo(scope, query, receive, send):
    await respond(send, (await receive())["body"])


async def cookies(scope, query, receive, send):
    await respond(send, None, (b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2"), status=201)


async def nothing(scope, query, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def stream(scope, query, receive, send):
    """Sends three tokens. The second and the third wait for a file each. The end writes a file."""
    await begin(send)
    await token(send, b"data: 1\n\n")
    for number in (2, 3):
        await wait_for_file(f"{query['dir']}/{number}")
        await token(send, b"data: %d\n\n" % number)
    await token(send, b"", more=False)
    Path(query["dir"], "done").touch()


async def flood(scope, query, receive, send):
    """Sends 100 MB. A file has the number of megabytes that were sent."""
    await begin(send)
    with Path(query["progress"]).open("w") as progress:
        for number in range(100):
            for _ in range(10):
                await token(send, bytes(100_000))
            progress.seek(0)
            progress.write(str(number + 1))
            progress.flush()
    await token(send, b"", more=False)


async def failure(scope, query, receive, send):
    raise LookupError("the message that a user wrote")


async def broken(scope, query, receive, send):
    await begin(send)
    await token(send, b"data: 1\n\n")
    raise LookupError("the message that a user wrote")


async def hang(scope, query, receive, send):
    if "begun" in query:
        await begin(send)
        await token(send, b"data: 1\n\n")
    await asyncio.Event().wait()


async def leave(scope, query, receive, send):
    print("leaving", flush=True)
    os._exit(3)


ROUTES = {
    f"/{route.__name__}": route
    for route in (
        process,
        event,
        environment,
        context,
        echo,
        cookies,
        nothing,
        stream,
        flood,
        failure,
        broken,
        hang,
        leave,
    )
}

if os.environ.get("INIT_FAILS_ONCE") and not Path(os.environ["INIT_FAILS_ONCE"]).exists():
    Path(os.environ["INIT_FAILS_ONCE"]).touch()
    raise LookupError("the init fails once")


# For AWS's runtime client


def handler(event, context):
    if event.get("rawPath", event.get("path")) == "/fail":
        raise LookupError("the handler fails")
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/octet-stream", "x-request": context.aws_request_id},
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
        "body": base64.b64encode(b"\0 bytes").decode(),
        "isBase64Encoded": True,
    }


def echo_handler(event, context):
    return {"event": event, "remaining": context.get_remaining_time_in_millis()}


def oversized(event, context):
    return {"statusCode": 200, "body": "x" * (6 * 1024 * 1024 + 100)}


def malformed(event, context):
    print("a line of output", file=sys.stderr)
    return {"status": 200}
