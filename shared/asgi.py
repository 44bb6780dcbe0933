"""What a server of ASGI apps needs whatever it serves over: the types, and the lifespan.

Source: the ASGI specification 3.0 and its "Lifespan Protocol".
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from shared.logs import logger

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class LifespanFailed(Exception):
    """The app reported that it cannot start, in a sentence of its own."""


class Lifespan:
    """An app's startup and shutdown, both in one task, as its context managers want it.

    `state` is what the app leaves there at startup; every request gets a shallow copy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._error: Exception | None = None
        self._task = asyncio.create_task(self._run())

    async def startup(self) -> None:
        """Returns once the app has started, or at once if it knows no lifespan.

        Raises what the app raised when it also reported the failure, else `LifespanFailed`.
        """
        self._events.put_nowait({"type": "lifespan.startup"})
        waited: set[asyncio.Future[Any]] = {self._answer, self._task}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done() or self._answer.result()["type"] == "lifespan.startup.complete":
            return
        await self._task
        raise self._error or LifespanFailed(self._answer.result().get("message", ""))

    async def shutdown(self) -> None:
        """Returns once the app has shut down. What goes wrong then is logged and raises nothing."""
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self._task
        if self._error and self._answer.done():
            logger.error("the app failed to shut down", exc_info=self._error)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:  # noqa: BLE001 (raised or logged by whoever waits for it)
            # Without an answer to the startup event, it says that the app knows no lifespan.
            self._error = error

    async def _send(self, message: Message) -> None:
        if not self._answer.done():
            self._answer.set_result(message)
