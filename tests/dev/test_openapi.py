"""The description that is served is made from the types that validate, and leaves out no route."""

from dev import openapi
from functions.chat_stream.app import create_app as chat_stream
from functions.conversations.app import create_app as conversations
from tests.serving import Client, serve, settings

METHODS = {"get", "post", "patch", "delete"}


def test_the_file_is_what_the_types_say_now():
    assert openapi.PATH.read_bytes() == openapi.render(), "run `make openapi`"


def test_it_is_served_without_a_token(database):
    with serve(settings(database.url)) as url, Client(url) as client:
        response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.content == openapi.PATH.read_bytes()
    assert response.json()["openapi"].startswith("3.1")


def test_every_route_is_described_and_nothing_else():
    described = {
        (path, method)
        for path, operations in openapi.document()["paths"].items()
        for method in operations
        if method in METHODS
    }
    configured = settings("postgresql://unused")
    served = {
        (route.path, method.lower())
        for app in (chat_stream(configured), conversations(configured))
        for route in routes_of(app)
        for method in route.methods or ()
        if method.lower() in METHODS
    }
    assert described == served


def routes_of(app):
    while not hasattr(app, "routes"):
        app = app._app
    return app.routes
