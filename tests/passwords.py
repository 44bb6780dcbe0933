"""A Postgres that asks chat_app for its password, where the tests' others trust it."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from dev import postgres
from migrations import migrate
from tests.database import TestDatabase, cluster_folder


class GuardedDatabase(TestDatabase):
    """Look into it with `rows` only, which does not log in as the app."""

    def __init__(self, server: postgres.LocalPostgres, password: str) -> None:
        super().__init__(server, postgres.DATABASE)
        self._server = server
        rules = server.data / "pg_hba.conf"
        rules.write_text("local all chat_app scram-sha-256\n" + rules.read_text("utf-8"), "utf-8")
        self.rows("select pg_reload_conf()")
        self.change_password(password)

    def change_password(self, password: str) -> None:
        statement = sql.SQL("alter role chat_app password {}").format(password)
        with psycopg.connect(self._server.superuser_url, autocommit=True) as connection:
            connection.execute(statement)

    def hang_up(self) -> None:
        """Ends all connections of the app, as a failover does."""
        self.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chat_app'")

    def refused_logins(self) -> int:
        return self._server.log.read_text("utf-8").count("password authentication failed")


@contextmanager
def guarded_database(password: str) -> Iterator[GuardedDatabase]:
    with cluster_folder() as folder:
        server = postgres.start(folder)
        migrate.apply(server.url(postgres.OWNER))
        yield GuardedDatabase(server, password)
        server.stop()
