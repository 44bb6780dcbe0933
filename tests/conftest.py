"""Fixtures for all tests: one embedded Postgres for each worker, and a new database for each test."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
import pytest

from dev import postgres
from dev.mock_llm import MockProcess, mock_llm_process
from dev.postgres import LocalPostgres
from migrations import migrate
from tests.aws import SecretsManager
from tests.database import TestDatabase, cluster_folder
from tests.distribution import Distribution, put_longest_first

# The duration of an example depends on the load of the machine, so examples have no deadline.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_longest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Distribution:
    return Distribution(config, log)


@pytest.fixture(scope="session")
def server() -> Iterator[LocalPostgres]:
    with cluster_folder() as folder:
        running = postgres.start(folder)
        migrate.apply(running.url(postgres.OWNER))
        with psycopg.connect(running.superuser_url, autocommit=True) as connection:
            # Creating and dropping a database waits for about twelve disk writes. Without fsync, committed
            # data survives a crash of Postgres but not of the machine. No test crashes the machine.
            connection.execute("alter system set fsync = off")
            connection.execute("alter system set full_page_writes = off")
            connection.execute("select pg_reload_conf()")
        yield running
        running.stop()


class _Databases:
    """Makes copies of the migrated database. A thread makes the next copy while a test runs, because a copy
    takes as long as a short test."""

    def __init__(self, server: LocalPostgres) -> None:
        self._server = server
        self._executor = ThreadPoolExecutor(1)
        self._next = self._executor.submit(self._make)

    def take(self) -> str:
        copy, self._next = self._next, self._executor.submit(self._make)
        return copy.result()

    def drop(self, name: str) -> None:
        self._executor.submit(self._execute, f"drop database {name} with (force)")

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _make(self) -> str:
        name = f"test_{uuid4().hex}"
        self._execute(
            f"create database {name} template {postgres.DATABASE} owner {postgres.OWNER} strategy file_copy"
        )
        return name

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server.superuser_url, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def databases(server: LocalPostgres) -> Iterator[_Databases]:
    copies = _Databases(server)
    yield copies
    copies.close()


@pytest.fixture
def database(server: LocalPostgres, databases: _Databases) -> Iterator[TestDatabase]:
    """A migrated database for one test."""
    name = databases.take()
    yield TestDatabase(server, name)
    databases.drop(name)


@pytest.fixture(params=["plain", "bypassrls", "superuser"])
def owner_rights(server: LocalPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once for each kind of role that may own the tables and functions: a plain role, as on RDS;
    one with BYPASSRLS, as on Supabase and Neon; and a superuser."""
    if request.param == "plain":
        yield request.param
        return
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"alter role {postgres.OWNER} {request.param}".encode())
        yield request.param
        connection.execute(f"alter role {postgres.OWNER} no{request.param}".encode())


@pytest.fixture(scope="session")
def mock() -> Iterator[MockProcess]:
    """The mock model providers. A test that counts requests calls `reset` first."""
    with mock_llm_process() as running:
        yield running


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a moto server, which imitates the APIs of AWS."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 (slow to import; few tests use moto)

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def secrets_manager(moto: str) -> SecretsManager:
    return SecretsManager(moto)
