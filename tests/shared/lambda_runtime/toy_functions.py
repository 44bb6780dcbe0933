# ruff: noqa: T201 (tests read the output)
"""ASGI apps that tests start in separate processes. The tests read the output of the apps."""

import asyncio
import os
import random

from shared.settings import ConfigError

# All processes restored from one snapshot start with the same state of the random numbers.
SEED = 1
random.seed(SEED)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"healthy"})
        return
    await receive()
    print("startup")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def without_settings(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "a traceback"})
    raise ConfigError("DATABASE_URL is missing")


async def reporting_only(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def hanging_in_shutdown(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.Event().wait()


async def hanging_in_request(scope, receive, send):
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    print("hanging")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        print("cancelled")


async def random_number(scope, receive, send):
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(random.random()).encode()})


async def starting_once(scope, receive, send):
    if "STARTED" in os.environ:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "a traceback"})
        raise LookupError
    os.environ["STARTED"] = "true"
    await app(scope, receive, send)
