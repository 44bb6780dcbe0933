"""Access to the database of a test as the app's role, as the owner, or as a superuser."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg.rows import dict_row

from dev import postgres
from dev.postgres import LocalPostgres

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 2_000_000_000


@contextmanager
def cluster_folder() -> Iterator[Path]:
    """A new folder for a Postgres cluster, in memory where there is room: to copy a database on a disk takes
    several times the CPU. It is not pytest's folder, because the path of a Unix socket has 107 bytes at most.
    """
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES
    with tempfile.TemporaryDirectory(
        prefix="pg-", dir=_MEMORY if in_memory else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder) / "data"


class TestDatabase:
    __test__ = False

    def __init__(self, server: LocalPostgres, name: str) -> None:
        self.name = name
        self.url = server.url(postgres.APP, name)
        self.owner_url = server.url(postgres.OWNER, name)
        self._superuser_url = server.url("postgres", name)

    def begin_turn(self, user_id: UUID, **fields: Any) -> dict[str, Any]:
        """Calls the stored function begin_turn. `fields` replace fields of `begin_request`."""
        started: dict[str, Any] = self.call("begin_turn", **self.begin_request(user_id, **fields))
        return started

    def begin_request(self, user_id: UUID, **fields: Any) -> dict[str, Any]:
        """A request for begin_turn like those of the chat function."""
        return {
            "user_id": user_id,
            "conversation_id": None,
            "new_conversation_id": uuid4(),
            "question_id": uuid4(),
            "answer_id": uuid4(),
            "question": "How are you?",
            "model": "openai/some-model",
            "system_tokens": 100,
            "max_tokens": 100,
            "usd_per_input": Decimal("0.001"),
            "usd_per_output": Decimal("0.01"),
            "priced": True,
            "history_limit": 20,
            "lease": "15 seconds",
            "rate_limit": 5,
            "rate_window": 60,
            "budget": Decimal(100),
        } | fields

    def call(self, function: str, **request: Any) -> Any:
        """Calls a stored function as chat_app. Bytes are sent as hex."""
        [row] = self.as_user(None, f"select app.{function}(%s) as result", (json_argument(request),))
        return row["result"]

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Runs a query as a superuser, who sees the rows of all users."""
        with psycopg.connect(self._superuser_url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def as_user(self, user_id: UUID | None, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Runs a query as chat_app, with or without a user for row-level security."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            if user_id is not None:
                connection.execute("select set_config('app.user_id', %s, true)", (str(user_id),))
            cursor = connection.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []


def json_argument(request: dict[str, Any]) -> str:
    """The JSON argument of a stored function. Bytes are sent as hex."""
    encoded = {name: value.hex() if isinstance(value, bytes) else value for name, value in request.items()}
    return msgspec.json.encode(encoded).decode()
