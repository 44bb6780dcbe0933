"""The migration function against a real Postgres, moto's Secrets Manager, and a stand-in of CodeDeploy."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote
from uuid import uuid4

import boto3
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from dev import postgres
from functions.migrate.app import handler
from migrations import deployment, files
from migrations.deployment import bring_up_to_date
from migrations.files import Files, Migration, MigrationError, StoredFunction

PASSWORD = "a password of chat_app's own"
BY_HAND = {"ran": "by hand"}


@pytest.fixture
def empty(server):
    """An empty database as its owner, in a server where chat_app can log in by nothing afterwards."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database to_migrate owner {postgres.OWNER}")
        yield server.url(postgres.OWNER, "to_migrate")
        connection.execute("alter role chat_app password null")
        connection.execute("drop role if exists rds_iam")
        connection.execute("drop database to_migrate with (force)")


@pytest.fixture
def environ(empty, moto, monkeypatch):
    """As the template sets it, with the owner's password where RDS keeps it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    owner = make_secret(moto, username=postgres.OWNER, password="not asked for on a socket")
    app = make_secret(moto, username="chat_app", password=PASSWORD)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", empty.replace(f"{postgres.OWNER}@", ""))
    monkeypatch.setenv("MIGRATION_DATABASE_SECRET_ARN", owner)
    monkeypatch.setenv("DATABASE_SECRET_ARN", app)
    monkeypatch.setenv("DATABASE_IAM_AUTH", "false")
    return monkeypatch


def make_secret(endpoint, **fields):
    client = boto3.client(
        "secretsmanager",
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    return client.create_secret(Name=f"secret-{uuid4()}", SecretString=json.dumps(fields))["ARN"]


@pytest.fixture
def codedeploy(monkeypatch):
    """The bodies of what CodeDeploy was told."""
    told = []

    class Told(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Told)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEDEPLOY", f"http://127.0.0.1:{server.server_port}")
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def one(server, query):
    with psycopg.connect(server.superuser_url) as connection:
        [row] = connection.execute(query)
        return row[0]


def opens(verifier, password):
    """Whether a password is the one that Postgres keeps a verifier of (RFC 5802, RFC 7677)."""
    _, iterations, keys = verifier.split("$")
    count, salt = iterations.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    return stored == keys.split(":")[0]


def test_it_migrates_and_gives_chat_app_the_password_of_its_secret(environ, server):
    source = files.load()
    names = [migration.name for migration in source.migrations]
    names += [f"functions/{function.name}.sql" for function in source.functions]
    assert handler(BY_HAND, None) == {"applied": names, "ahead": False}
    verifier = one(server, "select rolpassword from pg_authid where rolname = 'chat_app'")
    assert opens(verifier, PASSWORD)
    assert not opens(verifier, PASSWORD + "!")
    assert handler(BY_HAND, None) == {"applied": [], "ahead": False}


def test_the_password_may_be_in_the_url(environ, server):
    environ.setenv("DATABASE_SECRET_ARN", "")
    environ.setenv("DATABASE_URL", f"postgresql://chat_app:{quote(PASSWORD)}@127.0.0.1/chat")
    handler(BY_HAND, None)
    assert opens(one(server, "select rolpassword from pg_authid where rolname = 'chat_app'"), PASSWORD)
    environ.setenv("DATABASE_URL", "postgresql://chat_app@127.0.0.1/chat")
    with pytest.raises(MigrationError, match="no password"):
        handler(BY_HAND, None)


def by_iam(environ, server):
    """As on RDS, whose owner may hand out the role that stands for IAM."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("create role rds_iam")
        connection.execute(f"grant rds_iam to {postgres.OWNER} with admin option")
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")


IS_IN_RDS_IAM = "select pg_has_role('chat_app', 'rds_iam', 'member')"


def test_with_iam_chat_app_joins_the_role_of_rds_and_has_no_password(environ, server):
    handler(BY_HAND, None)
    by_iam(environ, server)
    handler(BY_HAND, None)
    assert one(server, IS_IN_RDS_IAM)
    assert one(server, "select rolpassword is null from pg_authid where rolname = 'chat_app'")


def test_going_back_to_a_password_leaves_the_role_of_rds(environ, server, moto):
    by_iam(environ, server)
    handler(BY_HAND, None)
    assert one(server, IS_IN_RDS_IAM)
    environ.setenv("DATABASE_IAM_AUTH", "false")
    app = make_secret(moto, username="chat_app", password=PASSWORD)
    environ.setenv("DATABASE_SECRET_ARN", app)
    handler(BY_HAND, None)
    assert not one(server, IS_IN_RDS_IAM)


def test_a_database_that_knows_no_iam_is_refused_with_a_sentence(environ, server):
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")
    with pytest.raises(MigrationError, match="does not support IAM authentication"):
        handler(BY_HAND, None)


def test_a_secret_of_another_user_changes_nothing(environ, moto, server):
    environ.setenv("DATABASE_SECRET_ARN", make_secret(moto, username="owner", password="x"))
    with pytest.raises(MigrationError, match="the functions log in as chat_app"):
        handler(BY_HAND, None)


def test_codedeploy_hears_whether_traffic_may_move(environ, codedeploy):
    event = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook"}
    handler(event, None)
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")
    with pytest.raises(MigrationError):
        handler(event, None)
    said = {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "hook"}
    assert codedeploy == [said | {"status": "Succeeded"}, said | {"status": "Failed"}]


def test_an_older_version_is_brought_back_beside_later_migrations(empty):
    owner, login = conninfo_to_dict(empty), {"user": "chat_app", "password": PASSWORD}
    source = files.load()
    later = (*source.migrations, Migration("9999_add_later.sql", "create table later ()"))
    assert bring_up_to_date(owner, login, Files(later, source.functions)).applied
    done = bring_up_to_date(owner, login)
    assert done == deployment.MigrationReport([], ahead=True)


def test_an_older_version_is_brought_back_beside_newer_functions(empty):
    owner, login = conninfo_to_dict(empty), {"user": "chat_app", "password": PASSWORD}
    source = files.load()
    older, newer = (
        Files(source.migrations, (StoredFunction("answer", answer(version)),)) for version in (1, 2)
    )
    bring_up_to_date(owner, login, older)
    bring_up_to_date(owner, login, newer)
    assert bring_up_to_date(owner, login, older) == deployment.MigrationReport([], ahead=True)
    with psycopg.connect(empty) as connection:
        assert connection.execute("select app.answer()").fetchone() == (2,)


def answer(version):
    return (
        f"-- version {version}\n"
        f"create or replace function $functions.answer() returns integer language sql as 'select {version}'"
    )


def test_what_postgres_says_of_rows_is_not_passed_on(empty):
    broken = Files((Migration("0001_break.sql", "select 'a message'::int"),))
    with pytest.raises(MigrationError) as caught:
        bring_up_to_date(conninfo_to_dict(empty), None, broken)
    assert str(caught.value) == "InvalidTextRepresentation, SQLSTATE 22P02"
