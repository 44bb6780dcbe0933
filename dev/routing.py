"""Combines both functions into one ASGI app, for servers other than Lambda."""

from dev.functions import CHAT_STREAM_ROUTES, CONVERSATIONS_ROUTES
from dev.lambda_events import resource_for
from dev.page import Page, send_file
from shared.asgi import ASGIApp, Receive, Scope, Send
from shared.lambda_runtime.lifespan import Lifespan


class CombinedApp:
    """Serves the chat page, and sends each other request to the function that API Gateway would choose.

    Both functions start and stop with the server.
    """

    def __init__(self, chat_stream: ASGIApp, conversations: ASGIApp) -> None:
        self._chat_stream = chat_stream
        self._conversations = conversations
        self._page = Page()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespans(receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        file = self._page.find(scope["method"], scope["path"], lambda name: headers.get(name, ""))
        if file:
            await send_file(file, send)
        elif resource_for(scope["path"], (*CHAT_STREAM_ROUTES, *CONVERSATIONS_ROUTES)) in CHAT_STREAM_ROUTES:
            await self._chat_stream(scope, receive, send)
        else:
            await self._conversations(scope, receive, send)

    async def _run_lifespans(self, receive: Receive, send: Send) -> None:
        lifespans = [Lifespan(self._chat_stream), Lifespan(self._conversations)]
        await receive()
        for lifespan in lifespans:
            await lifespan.startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for lifespan in lifespans:
            await lifespan.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
