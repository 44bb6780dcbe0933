"""The database that tests share: one embedded Postgres a worker, and a fresh database for whoever asks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg
import pytest

from dev import postgres
from dev.mock_llm import MockProcess, mock_llm_process
from dev.postgres import LocalPostgres
from migrations import migrate
from tests.aws import SecretsManager
from tests.database import TestDatabase

# How long an example takes says more about the machine's other work than about ours.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def server() -> Iterator[LocalPostgres]:
    # Not pytest's own folder: the path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        running = postgres.start(Path(folder) / "data")
        migrate.apply(running.url(postgres.OWNER))
        with psycopg.connect(running.superuser_url, autocommit=True) as connection:
            # Making and dropping a database waits for the disk a dozen times, which no test is about: what
            # was committed outlives a crash of Postgres all the same, if not one of the machine.
            connection.execute("alter system set fsync = off")
            connection.execute("alter system set full_page_writes = off")
            connection.execute("select pg_reload_conf()")
        yield running
        running.stop()


@pytest.fixture
def database(server: LocalPostgres) -> Iterator[TestDatabase]:
    """A migrated database of the test's own."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(
            f"create database {name} template {postgres.DATABASE} owner {postgres.OWNER}"
            " strategy file_copy".encode()
        )
        yield TestDatabase(server, name)
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(scope="session")
def mock() -> Iterator[MockProcess]:
    """The mock providers; a test that counts resets them first."""
    with mock_llm_process() as running:
        yield running


@pytest.fixture(scope="session")
def secrets_manager() -> Iterator[SecretsManager]:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 (most tests need none of it)

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield SecretsManager(f"http://{host}:{port}")
    server.stop()
