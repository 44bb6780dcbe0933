"""The description of the API: whole, valid, and of what the functions do."""

import json
import subprocess
import sys
from uuid import uuid4

import httpx_sse
import jsonschema_rs
import openapi_spec_validator
import pytest
from starlette.routing import Route, Router

from dev import openapi
from dev.local import ROOT
from functions.chat_stream import app as chat_stream
from functions.conversations import app as conversations
from shared.settings import load_settings
from tests.serving import Client, mocked, serve, settings

USER = uuid4()
DOCUMENT = openapi.document()
METHODS = {"get", "post", "patch", "delete", "put"}


def operations():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def routes(app):
    """Of a function, through what is around its router."""
    while not isinstance(app, Router):
        app = app._app
    return {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }


def test_the_file_that_is_served_is_up_to_date():
    assert openapi.PATH.read_bytes() == openapi.render(), "run: make openapi"


def test_it_is_openapi_3_1():
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_route_of_both_functions_is_described_and_no_other():
    configured = settings("postgresql://nobody@127.0.0.1/none")
    found = routes(chat_stream.create_app(configured)) | routes(conversations.create_app(configured))
    described = {(path, method) for path, method, _ in operations()}
    assert {(path, method) for path, method in found if method in METHODS} == described


def test_operations_have_names_of_their_own():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_everybody_may_read_it(database):
    with serve(settings(database.url)) as url, Client(url) as client:
        response = client.get("/openapi.json")
    assert response.json() == DOCUMENT
    assert response.headers["content-type"] == "application/json"


def test_it_costs_nothing_where_requests_are_served():
    program = "import sys, functions.chat_stream.app, functions.conversations.app; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "functions.conversations.openapi_routes" in said.stdout.split()
    assert "shared.openapi" not in said.stdout.split()


STREAMS = {
    path: operation
    for path, method, operation in operations()
    if method == "post" and "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
}


def validator(schema):
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})


def assert_as_described(event, schema):
    """The data of an event is JSON in a string, which a validator of JSON alone does not look into."""
    sent = {"data": event.data} | ({"event": event.event} if event.event != "message" else {})
    validator(schema).validate(sent | ({"id": event.id} if event.id else {}))
    data = schema["properties"]["data"]
    ways = data.get("anyOf", [data])
    if {"const": event.data} not in ways:
        validator(ways[0]["contentSchema"]).validate(json.loads(event.data))


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("script", ["tokens=3,thinking=2", "tokens=3,finish=length", "tokens=3,fault=cut"])
def test_streams_are_made_of_the_events_described(database, mock, path, script):
    operation = STREAMS[path]
    body = operation["requestBody"]["content"]["application/json"]["example"]
    environ = mocked(database.url, mock, "openai/mock", LLM_ALLOWED_MODELS="openai/*")
    body |= {"model": f"openai/mock:{script}", "stream": True}
    with (
        serve(load_settings(environ)) as url,
        Client(url, USER) as client,
        client.stream("POST", path, json=body) as response,
    ):
        assert response.status_code == 200, response.read()
        events = list(httpx_sse.EventSource(response).iter_sse())
    assert len(events) >= 4
    schema = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    for event in events:
        assert_as_described(event, schema)
