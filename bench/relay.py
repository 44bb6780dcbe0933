"""A plain relay for comparison: an ASGI app that forwards the bytes from httpx and parses nothing."""

import contextlib
import os

import httpx
import uvicorn

from dev.server import ReadyServer
from shared.asgi import Receive, Scope, Send

_URL = f"{os.environ.get('OPENAI_BASE_URL', '')}/chat/completions"
_client = httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    headers = {"content-type": "application/json", "authorization": "Bearer key"}
    async with _client.stream("POST", _URL, content=body, headers=headers) as response:
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": [(b"content-type", response.headers["content-type"].encode())],
            }
        )
        async for data in response.aiter_raw():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def main() -> None:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", access_log=False, lifespan="off"
    )
    with contextlib.suppress(KeyboardInterrupt):
        ReadyServer(config, lambda url: print(f"ready {url}", flush=True)).run()


if __name__ == "__main__":
    main()
