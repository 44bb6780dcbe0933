"""Runs a real PgBouncer in transaction mode in front of Postgres, if the program is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.postgres import LocalPostgres

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_CONFIGURATION = """
[databases]
* = host={socket_folder}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file =
pool_mode = transaction
default_pool_size = 2
server_login_retry = 1
"""


@contextmanager
def pgbouncer(server: LocalPostgres, role: str, *, socket_folder: str | None = None) -> Iterator[int]:
    """Runs PgBouncer and yields its port. Every client is `role` in the database. `socket_folder` selects
    another Postgres, which may start later."""
    assert PROGRAM is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        # PgBouncer does not run as root. The user it runs as must read this file and the socket of Postgres.
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        configuration = _CONFIGURATION.format(socket_folder=socket_folder or server.socket_folder, port=port)
        file.write_text(configuration.replace("* =", f"* = user={role}"), "utf-8")
        command = [PROGRAM, str(file)]
        if server.system_user is not None:
            command += ["-u", server.system_user]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.communicate()


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    last = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > last:
                raise
            time.sleep(0.05)
        else:
            return
