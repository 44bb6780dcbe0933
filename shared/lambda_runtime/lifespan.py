"""The startup and the shutdown of an ASGI app. Source: the ASGI specification 3.0, "Lifespan Protocol"."""

import asyncio
from typing import Any

from shared.asgi import ASGIApp, Message
from shared.logs import logger


class LifespanFailed(Exception):
    """The app sent `lifespan.startup.failed`. The text of the error is the app's message."""


class Lifespan:
    """Starts and shuts down one app.

    Both happen in one task, because an app holds context managers from startup to shutdown. `state` is
    the lifespan state that the app fills at startup. Each request gets a shallow copy of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._startup_result: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._error: Exception | None = None
        self._task = asyncio.create_task(self._run())

    async def startup(self) -> None:
        """Returns when the app has started, or at once if the app does not support the lifespan protocol.

        When the app reports a failure, raises the exception that the app raises after the report, else
        LifespanFailed.
        """
        self._events.put_nowait({"type": "lifespan.startup"})
        waiting: set[asyncio.Future[Any]] = {self._startup_result, self._task}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._startup_result.done():
            return
        result = self._startup_result.result()
        if result["type"] == "lifespan.startup.complete":
            return
        await self._task
        raise self._error or LifespanFailed(result.get("message", ""))

    async def shutdown(self) -> None:
        """Returns when the app has shut down. Logs an error of the app and raises nothing."""
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self._task
        if self._error and self._startup_result.done():
            logger.error("the app failed to shut down", exc_info=self._error)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:  # noqa: BLE001 (`startup` raises it, or `shutdown` logs it)
            # An app that raises before it answers the startup event does not support lifespans.
            self._error = error

    async def _send(self, message: Message) -> None:
        # The first message answers the startup event. `shutdown` waits for the end of the task instead of
        # the second message.
        if not self._startup_result.done():
            self._startup_result.set_result(message)
