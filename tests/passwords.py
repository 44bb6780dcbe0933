"""A Postgres that asks chat_app for a password. The Postgres of other tests trusts every login."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from dev import postgres
from migrations import migrate
from tests.database import TestDatabase, cluster_folder


class PasswordDatabase(TestDatabase):
    """Tests read it with `rows`. `call` and `as_user` fail, because they send no password."""

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

    def close_connections(self) -> None:
        """Closes all connections of chat_app, as a failover does."""
        self.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chat_app'")

    def refused_logins(self) -> int:
        return self._server.log.read_text("utf-8").count("password authentication failed")


@contextmanager
def password_database(password: str) -> Iterator[PasswordDatabase]:
    with cluster_folder() as folder:
        server = postgres.start(folder)
        migrate.apply(server.url(postgres.OWNER))
        yield PasswordDatabase(server, password)
        server.stop()
