"""A Starlette route for all endpoints of one path."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from starlette.requests import Request
from starlette.routing import Route

from shared.asgi import ASGIApp
from shared.endpoints import Endpoint

RequestHandler: TypeAlias = Callable[[Request], Awaitable[ASGIApp]]


class EndpointRoute(Route):
    """One path, with its endpoints and their handlers.

    Other methods get a 405 with the allowed methods.
    """

    def __init__(self, path: str, handlers: Sequence[tuple[Endpoint, RequestHandler]]) -> None:
        self.endpoints = [endpoint for endpoint, _ in handlers]
        by_method: dict[str, RequestHandler] = {endpoint.method: handler for endpoint, handler in handlers}

        async def dispatch(request: Request) -> ASGIApp:
            return await by_method["GET" if request.method == "HEAD" else request.method](request)

        handler = handlers[0][1] if len(handlers) == 1 else dispatch
        super().__init__(path, handler, methods=list(by_method))
