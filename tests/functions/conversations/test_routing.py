"""A handler can read only the parameters that its endpoint declares."""

import asyncio
from uuid import uuid4

import httpx
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Router

from functions.conversations.routing import Call, DeclaredHandler, endpoint, routes
from shared import web
from shared.auth import TokenVerifier
from shared.cors import Cors
from shared.endpoints import Reply
from shared.parameters import Integer
from shared.secret_sources import StaticSecret
from tests.serving import SECRET, token

SIZE = Integer(name="size", default=3, at_least=1, at_most=9, description="The number of letters.")
REPLY = Reply(description="The letters, as a text.", media_type="text/plain")


class Letters:
    @endpoint("GET", "/letters", operation_id="getLetters", tag="Letters", parameters=[SIZE], replies=[REPLY])
    async def get(self, call: Call) -> Response:
        """Return letters.

        They are all
        the same.
        """
        return PlainTextResponse("a" * call[SIZE])

    @endpoint("DELETE", "/letters", operation_id="deleteLetters", tag="Letters", replies=[REPLY])
    async def delete(self, call: Call) -> Response:
        """Delete letters and read a parameter that is not declared."""
        return PlainTextResponse(str(call[SIZE]))


def request(method, path, **options):
    async def send():
        verifier = TokenVerifier(secret=StaticSecret(SECRET), jwks=None, issuer=None, audience=None)
        app = web.with_middleware(Router(routes([Letters()], verifier)), Cors(()))
        headers = {"authorization": f"Bearer {token(uuid4())}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def test_a_declared_parameter_is_parsed():
    assert request("GET", "/letters", params={"size": "5"}).text == "aaaaa"
    assert request("GET", "/letters").text == "aaa"
    assert request("GET", "/letters", params={"size": "10"}).json()["field"] == "size"


def test_a_parameter_that_is_not_declared_cannot_be_read():
    assert request("DELETE", "/letters", params={"size": "5"}).status_code == 500


def test_an_unknown_method_is_405_and_lists_the_allowed_methods():
    response = request("POST", "/letters")
    assert response.status_code == 405
    assert {*response.headers["allow"].split(", ")} == {"GET", "HEAD", "DELETE"}
    assert request("HEAD", "/letters").status_code == 200


def test_the_docstring_of_a_handler_is_its_summary_and_description():
    declared = Letters.get
    assert isinstance(declared, DeclaredHandler)
    assert declared.endpoint.summary == "Return letters"
    assert declared.endpoint.description == "They are all the same."
