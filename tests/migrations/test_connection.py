"""How migrations connect: through a transaction pooler, at the same time, and while a database starts."""

import socket
import threading

import psycopg
import pytest

from dev import postgres
from migrations import files, migrate
from migrations.connection import Patience, connect, is_temporary
from tests.database import cluster_folder
from tests.pgbouncer import PROGRAM, pgbouncer


@pytest.fixture
def empty(server):
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database pooled owner {postgres.OWNER}")
        yield "pooled"
        connection.execute("drop database pooled with (force)")


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
def test_parallel_migrations_through_a_transaction_pooler_apply_each_file_once(server, empty):
    source = files.load()
    applied, failed = [], []

    def deploy(port):
        url = f"postgresql://{postgres.OWNER}@127.0.0.1:{port}/{empty}"
        try:
            applied.extend(migrate.apply(url).files)
        except psycopg.Error as error:
            failed.append(error)

    with pgbouncer(server, postgres.OWNER) as port:
        threads = [threading.Thread(target=deploy, args=(port,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    names = [migration.name for migration in source.migrations]
    names += [f"functions/{function.name}.sql" for function in source.functions]
    assert sorted(applied) == sorted(names)


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
def test_connect_retries_while_the_database_behind_a_pooler_starts(server):
    started = []
    with cluster_folder() as data:
        with pgbouncer(server, postgres.OWNER, socket_folder=str(data)) as port:
            url = f"postgresql://{postgres.OWNER}@127.0.0.1:{port}/{postgres.DATABASE}"
            clock = Clock(start_after=2, start=lambda: started.append(postgres.start(data)))
            connect(url, clock.patience()).close()
        started[0].stop()
    assert clock.pauses >= 2


class Clock:
    """A clock that moves only during pauses. `start` runs in pause number `start_after`."""

    def __init__(self, *, start_after=0, start=None):
        self.pauses, self._time = 0, 0.0
        self._start_after, self._start = start_after, start

    def patience(self, seconds=120.0):
        return Patience(seconds=seconds, now=lambda: self._time, sleep=self._sleep)

    def _sleep(self, seconds):
        self._time += seconds
        self.pauses += 1
        if self.pauses == self._start_after:
            self._start()


class Server:
    """Refuses each connection with an ErrorResponse of Postgres's protocol (version 3)."""

    def __init__(self, sqlstate, message):
        fields = f"SFATAL\0C{sqlstate}\0M{message}\0\0".encode()
        self._reply = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return f"postgresql://user@127.0.0.1:{self._socket.getsockname()[1]}/x?sslmode=disable&gssencmode=disable"

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _run(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.recv(1024)
                self.connections += 1
                client.sendall(self._reply)


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("57P03", "the database system is starting up"),
        ("57P03", "the database system is shutting down"),
        ("57P03", "the database system is not yet accepting connections"),
        ("53300", "sorry, too many clients already"),
        ("08P01", "server login has been failing, try again later (server_login_retry)"),
    ],
)
def test_connect_retries_for_two_minutes_while_a_database_starts(sqlstate, message):
    clock, server = Clock(), Server(sqlstate, message)
    with server as url:
        with pytest.raises(psycopg.OperationalError, match=message[:20]):
            connect(url, clock.patience())
    assert (clock.pauses, server.connections) == (60, 61)


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("28P01", 'password authentication failed for user "user"'),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1"'),
        ("3D000", 'database "x" does not exist'),
    ],
)
def test_connect_does_not_retry_a_refused_login(sqlstate, message):
    clock, server = Clock(), Server(sqlstate, message)
    with server as url:
        with pytest.raises(psycopg.OperationalError):
            connect(url, clock.patience())
    assert (clock.pauses, server.connections) == (0, 1)


def test_connect_retries_a_port_without_a_server():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clock = Clock()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(f"postgresql://user@127.0.0.1:{port}/x", clock.patience(10))
    assert clock.pauses == 5


@pytest.mark.parametrize(
    "message",
    [
        'connection to server at "db" (10.0.0.1), port 5432 failed: timeout expired',
        "connection timeout expired",
        'could not translate host name "db" to address: Temporary failure in name resolution',
        "connection to server failed: server closed the connection unexpectedly",
    ],
)
def test_network_errors_are_temporary(message):
    assert is_temporary(psycopg.OperationalError(message))
