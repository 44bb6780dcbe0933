import asyncio

import pytest
from starlette.requests import Request

from shared import web
from shared.errors import InvalidRequest


def test_a_client_that_disconnects_within_its_body_is_an_invalid_request():
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(InvalidRequest, match="the request body ended early"):
        asyncio.run(web.read_body(Request(scope, receive)))
