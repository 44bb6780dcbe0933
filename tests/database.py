"""A test's view of its database: as the app's role, as its owner, or past row-level security."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from dev import postgres
from dev.postgres import LocalPostgres


class TestDatabase:
    __test__ = False

    def __init__(self, server: LocalPostgres, name: str) -> None:
        self.name = name
        self.url = server.url(postgres.APP, name)
        self.owner_url = server.url(postgres.OWNER, name)
        self._superuser_url = server.url("postgres", name)

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What is really there, whoever owns it."""
        with psycopg.connect(self._superuser_url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def as_user(self, user_id: UUID | None, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What chat_app sees or does as a user, or as nobody."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            if user_id is not None:
                connection.execute("select set_config('app.user_id', %s, true)", (str(user_id),))
            cursor = connection.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []
