"""The OpenAPI document is valid, describes every route, and matches the behaviour of the functions."""

import json
import os
import re
import subprocess
import sys
from uuid import uuid4

import httpx_sse
import jsonschema_rs
import openapi_spec_validator
import pytest
from starlette.routing import Route

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


def descriptions(value, path="#"):
    """All descriptions and summaries in a part of the document, with their paths."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in {"description", "summary"} and isinstance(member, str):
                yield f"{path}/{name}", member
            else:
                yield from descriptions(member, f"{path}/{name}")
    if isinstance(value, list):
        for index, member in enumerate(value):
            yield from descriptions(member, f"{path}/{index}")


def test_the_document_is_openapi_3_1():
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_route_of_both_functions_is_described():
    config = settings("postgresql://nobody@127.0.0.1/none")
    routers = (chat_stream.create_router(config), conversations.create_router(config))
    served = {
        (route.path, method.lower())
        for router in routers
        for route in router.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == {(path, method) for path, method, _ in operations()}


def test_every_path_parameter_is_described():
    for path, _, operation in operations():
        locations = {parameter["name"]: parameter["in"] for parameter in operation.get("parameters", ())}
        assert set(re.findall(r"{(\w+)}", path)) == {
            name for name in locations if locations[name] == "path"
        }, path


def test_no_description_is_shorter_than_a_sentence():
    texts = dict(descriptions(DOCUMENT))
    assert len(texts) > 100
    assert {path: text for path, text in texts.items() if len(text) < 23} == {}


def test_every_operation_has_a_summary_and_every_parameter_a_description():
    for path, method, operation in operations():
        assert operation["summary"], (method, path)
        assert all(parameter["description"] for parameter in operation.get("parameters", ())), (method, path)


# For each kind of bound: the last value that is accepted and the first that is refused.
VALUES_AT = {
    "minimum": lambda bound: (bound, bound - 1),
    "maximum": lambda bound: (bound, bound + 1),
    "maxLength": lambda bound: ("x" * bound, "x" * (bound + 1)),
}


def bounded_parameters():
    for path, method, operation in operations():
        for parameter in operation.get("parameters", ()):
            for name in VALUES_AT.keys() & parameter["schema"].keys():
                if method == "get":
                    yield path, parameter["name"], VALUES_AT[name](parameter["schema"][name])


def test_the_functions_accept_exactly_the_described_bounds_of_parameters(database):
    conversation = uuid4()
    database.rows("insert into conversations (id, user_id) values (%s, %s)", (conversation, USER))
    found = list(bounded_parameters())
    assert len(found) >= 9
    with serve(settings(database.url)) as url, Client(url, USER) as client:
        for path, name, (accepted, refused) in found:
            target = path.replace("{id}", str(conversation))
            required = {"q": "sleep"} if path == "/api/chat/search" else {}
            assert client.get(target, params=required | {name: accepted}).status_code == 200, (path, name)
            response = client.get(target, params=required | {name: refused})
            assert (response.status_code, response.json()["field"]) == (400, name), path


def test_operation_ids_are_unique():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_the_document_is_public(database, tmp_path):
    path = tmp_path / "openapi.json"
    openapi.write(path)
    with serve(settings(database.url, OPENAPI_FILE=str(path))) as url, Client(url) as client:
        response = client.get("/openapi.json")
    assert response.content == path.read_bytes() == openapi.render()
    assert response.headers["content-type"] == "application/json"


def test_the_functions_do_not_import_types_that_only_the_document_needs():
    program = "import sys, functions.chat_stream.app as a, functions.conversations.app as b;"
    program += " a.app; b.app; print(*sys.modules)"
    env = {**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "JWT_SECRET": "x" * 32}
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "functions.conversations.openapi_routes" in loaded
    assert {"functions.chat_stream.openapi_types", "dev", "dev.openapi"} & {*loaded} == set()


STREAMS = {
    path: operation
    for path, method, operation in operations()
    if method == "post" and "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
}


def validator(schema):
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})


def assert_as_described(event, schema):
    """Validates an event, and its data separately, because the data is JSON inside a string."""
    sent = {"data": event.data} | ({"event": event.event} if event.event != "message" else {})
    validator(schema).validate(sent | ({"id": event.id} if event.id else {}))
    data = schema["properties"]["data"]
    alternatives = data.get("anyOf", [data])
    if {"const": event.data} not in alternatives:
        validator(alternatives[0]["contentSchema"]).validate(json.loads(event.data))


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("script", ["tokens=3,thinking=2", "tokens=3,finish=length", "tokens=3,fault=cut"])
def test_streams_contain_only_described_events(database, mock, path, script):
    operation = STREAMS[path]
    body = operation["requestBody"]["content"]["application/json"]["example"]
    environ = mocked(database.url, mock, "openai/mock", LLM_ALLOWED_MODELS="openai/*")
    body = {**body, "model": f"openai/mock:{script}", "stream": True}
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
