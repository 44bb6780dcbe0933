# ruff: noqa: T201 (output is how tests see inside)
"""ASGI apps that tests start in processes of their own. What they print is looked at."""

import asyncio
import os

from shared.lambda_runtime.loop import on_checkpoint, on_restore
from shared.settings import ConfigError


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
        print("let go")


def hook(name):
    async def run():
        if os.environ.get("FAILING_HOOK") in name.split():
            raise LookupError
        print(name)

    return run


on_checkpoint(hook("first checkpoint hook"))
on_checkpoint(hook("second checkpoint hook"))
on_restore(hook("first restore hook"))
on_restore(hook("second restore hook"))
