"""The endpoint of the OpenAPI document, which is a file that the build writes."""

from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.responses import Response

from functions.conversations.routing import Call, endpoint
from shared.endpoints import Reply

BUNDLED = Path(__file__).parent / "openapi.json"


class OpenAPIRoutes:
    """`path` is the file. The first request reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @endpoint(
        "GET",
        "/openapi.json",
        operation_id="getDescription",
        tag="Service",
        access="public",
        replies=[Reply(description="An OpenAPI 3.1 document.", types=(dict[str, Any],))],
    )
    async def description(self, _: Call) -> Response:
        """Return the OpenAPI document of this API."""
        return Response(self._document, media_type="application/json")

    @cached_property
    def _document(self) -> bytes:
        return self._path.read_bytes()
