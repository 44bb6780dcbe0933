"""The route of the API's description, which is a file: made by `make openapi`, read when it is first
asked for."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.routing import resource


class DescriptionRoutes:
    def routes(self) -> list[Route]:
        return [resource("/openapi.json", GET=self.description)]

    async def description(self, _: Request) -> Response:
        return Response(_description(), media_type="application/json")


@cache
def _description() -> bytes:
    return (Path(__file__).parent / "openapi.json").read_bytes()
