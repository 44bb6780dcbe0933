"""Which function serves which path, as the deployed front door has it."""

import re

from shared.asgi import ASGIApp, Lifespan, Receive, Scope, Send

_CHAT_STREAM = re.compile(
    r"/(chat-stream|stream-chat|api/chat|api/stream|v1/.*|api/ui/.*|health|api/chat/messages/[^/]+/stream)"
)


def is_chat_stream(path: str) -> bool:
    return _CHAT_STREAM.fullmatch(path) is not None


class BothFunctions:
    """One ASGI app out of two; the life of the server is the life of both."""

    def __init__(self, chat_stream: ASGIApp, conversations: ASGIApp) -> None:
        self._chat_stream = chat_stream
        self._conversations = conversations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif is_chat_stream(scope["path"]):
            await self._chat_stream(scope, receive, send)
        else:
            await self._conversations(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        lives = [Lifespan(self._chat_stream), Lifespan(self._conversations)]
        await receive()
        for life in lives:
            await life.startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for life in lives:
            await life.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
