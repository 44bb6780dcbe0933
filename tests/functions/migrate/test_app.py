"""The migration function with a real Postgres, Secrets Manager of moto, and a fake CodeDeploy."""

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

PASSWORD = "the password of chat_app"
MANUAL_EVENT = {"ran": "by hand"}


@pytest.fixture
def empty(server):
    """The URL of an empty database for its owner. At the end, chat_app has no password and no IAM role."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(f"create database to_migrate owner {postgres.OWNER}")
        yield server.url(postgres.OWNER, "to_migrate")
        connection.execute("alter role chat_app password null")
        connection.execute("drop role if exists rds_iam")
        connection.execute("drop database to_migrate with (force)")


@pytest.fixture
def environ(empty, moto, monkeypatch):
    """The environment variables of the template, with the owner's password in a secret as on RDS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    owner = make_secret(moto, username=postgres.OWNER, password="not checked on a Unix socket")
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
    """A fake CodeDeploy, as a list of the JSON bodies of its requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEDEPLOY", f"http://127.0.0.1:{server.server_port}")
    yield requests
    server.shutdown()
    thread.join()
    server.server_close()


def value(server, query):
    with psycopg.connect(server.superuser_url) as connection:
        [row] = connection.execute(query)
        return row[0]


def matches(verifier, password):
    """Whether a password fits the SCRAM verifier of Postgres (RFC 5802, RFC 7677)."""
    _, iterations, keys = verifier.split("$")
    count, salt = iterations.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    return stored == keys.split(":")[0]


def test_the_handler_migrates_and_sets_the_password_of_chat_app_from_its_secret(environ, server):
    source = files.load()
    names = [migration.name for migration in source.migrations]
    names += [f"functions/{function.name}.sql" for function in source.functions]
    assert handler(MANUAL_EVENT, None) == {"applied": names, "ahead": False}
    verifier = value(server, "select rolpassword from pg_authid where rolname = 'chat_app'")
    assert matches(verifier, PASSWORD)
    assert not matches(verifier, PASSWORD + "!")
    assert handler(MANUAL_EVENT, None) == {"applied": [], "ahead": False}


def test_the_password_can_come_from_the_url(environ, server):
    environ.setenv("DATABASE_SECRET_ARN", "")
    environ.setenv("DATABASE_URL", f"postgresql://chat_app:{quote(PASSWORD)}@127.0.0.1/chat")
    handler(MANUAL_EVENT, None)
    assert matches(value(server, "select rolpassword from pg_authid where rolname = 'chat_app'"), PASSWORD)
    environ.setenv("DATABASE_URL", "postgresql://chat_app@127.0.0.1/chat")
    with pytest.raises(MigrationError, match="no password"):
        handler(MANUAL_EVENT, None)


def use_iam(environ, server):
    """Creates the role rds_iam, which the owner can grant as on RDS, and turns on IAM logins."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute("create role rds_iam")
        connection.execute(f"grant rds_iam to {postgres.OWNER} with admin option")
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")


IS_IN_RDS_IAM = "select pg_has_role('chat_app', 'rds_iam', 'member')"


def test_with_iam_chat_app_gets_the_role_rds_iam_and_no_password(environ, server):
    handler(MANUAL_EVENT, None)
    use_iam(environ, server)
    handler(MANUAL_EVENT, None)
    assert value(server, IS_IN_RDS_IAM)
    assert value(server, "select rolpassword is null from pg_authid where rolname = 'chat_app'")


def test_switching_back_to_a_password_removes_the_role_rds_iam(environ, server, moto):
    use_iam(environ, server)
    handler(MANUAL_EVENT, None)
    assert value(server, IS_IN_RDS_IAM)
    environ.setenv("DATABASE_IAM_AUTH", "false")
    app = make_secret(moto, username="chat_app", password=PASSWORD)
    environ.setenv("DATABASE_SECRET_ARN", app)
    handler(MANUAL_EVENT, None)
    assert not value(server, IS_IN_RDS_IAM)


def test_iam_with_a_database_without_iam_support_is_an_error(environ, server):
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")
    with pytest.raises(MigrationError, match="does not support IAM authentication"):
        handler(MANUAL_EVENT, None)


def test_a_secret_of_another_user_is_an_error(environ, moto, server):
    environ.setenv("DATABASE_SECRET_ARN", make_secret(moto, username="owner", password="x"))
    with pytest.raises(MigrationError, match="the functions log in as chat_app"):
        handler(MANUAL_EVENT, None)


def test_codedeploy_gets_the_result_of_the_migration(environ, codedeploy):
    event = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook"}
    handler(event, None)
    environ.setenv("DATABASE_IAM_AUTH", "true")
    environ.setenv("DATABASE_SECRET_ARN", "")
    with pytest.raises(MigrationError):
        handler(event, None)
    fields = {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "hook"}
    assert codedeploy == [fields | {"status": "Succeeded"}, fields | {"status": "Failed"}]


def test_an_older_version_can_be_deployed_after_later_migrations(empty):
    owner, login = conninfo_to_dict(empty), {"user": "chat_app", "password": PASSWORD}
    source = files.load()
    later = (*source.migrations, Migration("9999_add_later.sql", "create table later ()"))
    assert bring_up_to_date(owner, login, Files(later, source.functions)).applied
    done = bring_up_to_date(owner, login)
    assert done == deployment.MigrationReport([], ahead=True)


def test_an_older_version_can_be_deployed_after_newer_functions(empty):
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


def test_an_error_does_not_contain_the_message_of_postgres(empty):
    broken = Files((Migration("0001_break.sql", "select 'a message'::int"),))
    with pytest.raises(MigrationError) as caught:
        bring_up_to_date(conninfo_to_dict(empty), None, broken)
    assert str(caught.value) == "InvalidTextRepresentation, SQLSTATE 22P02"
