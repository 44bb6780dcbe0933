"""Both functions work in the schemas named by DATABASE_SCHEMA and DATABASE_FUNCTION_SCHEMA."""

from uuid import uuid4

import psycopg
import pytest

from dev import postgres
from migrations import migrate
from shared.database_schemas import DatabaseSchemas
from shared.settings import load_settings
from tests.serving import Client, environment, serve

USER = uuid4()
NAMES = {"DATABASE_SCHEMA": "coach", "DATABASE_FUNCTION_SCHEMA": "coach_functions"}


@pytest.fixture
def database_url(server):
    """A database whose schemas public and app belong to another application."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database other_schemas owner {postgres.OWNER}")
    owner_url = server.url(postgres.OWNER, "other_schemas")
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for table in ("conversations", "messages", "turns", "usage_logs", "budgets"):
            connection.execute(f"create table public.{table} (owner_only int)")
        connection.execute("create schema app")
    migrate.apply(owner_url, schemas=DatabaseSchemas(*NAMES.values()))
    yield server.url(postgres.APP, "other_schemas")
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("drop database other_schemas with (force)")


def test_turns_lists_search_and_imports_use_the_schemas_of_the_settings(database_url):
    settings = load_settings(environment(database_url, **NAMES, BUDGET_USD_PER_DAY="1"))
    with serve(settings) as url, Client(url, USER) as client:
        stream = client.post("/chat-stream", json={"message": "How do I sleep?"})
        assert '"done"' in stream.text
        path = f"/api/chat/conversations/{stream.headers['x-conversation-id']}"
        assert client.get("/api/chat/conversations").json()["total"] == 1
        assert client.patch(path, json={"title": "Nights"}).json()["title"] == "Nights"
        assert client.post(f"{path}/messages", json={"role": "user", "content": "More"}).status_code == 201
        assert client.get(f"{path}/messages").json()["total"] == 3
        assert len(client.get("/api/chat/search", params={"q": "sleep"}).json()["results"]) == 2
        assert client.get("/api/chat/usage").json()["totals"]["turns"] == 1
        assert client.post(f"/api/chat/messages/{stream.headers['x-message-id']}/cancel").status_code == 200
        archive = client.get(f"{path}/export").json()
        assert client.delete(path).status_code == 204
        assert client.post("/api/chat/import", json=archive).status_code == 201
        assert client.post("/api/chat/conversations", json={"title": "New"}).status_code == 201
        assert client.get("/api/chat/conversations").json()["total"] == 2
