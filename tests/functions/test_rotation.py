"""Passwords, keys and tokens change while the functions run: at most one attempt fails, and no turn."""

import socket
import time
from contextlib import ExitStack
from uuid import uuid4

import pytest

from shared import auth
from shared.llm.providers import PROVIDERS
from shared.settings import load_settings
from tests.aws import REGION
from tests.passwords import password_database
from tests.rds_iam import RdsWithIam
from tests.serving import SECRET, Client, mocked, serve, token

USER = uuid4()
OTHER_SECRET = "another secret for tests, long enough too"


class Clock:
    """The real time plus the seconds in `ahead`."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def aws(secrets_manager, monkeypatch):
    for name, value in secrets_manager.env.items():
        monkeypatch.setenv(name, value)
    return secrets_manager


@pytest.fixture(scope="module")
def password_db():
    with password_database("first") as database:
        yield database


@pytest.fixture
def model(mock):
    mock.reset()
    yield mock
    mock.reset()


def unique_name(name):
    """A name that no other test uses."""
    return f"{name}-{uuid4().hex}"


def environment(database_url, mock, **environ):
    """The environment of the mock with `environ`, without the variables that are None."""
    env = mocked(database_url, mock, "openai/mock:tokens=3") | environ
    return {name: value for name, value in env.items() if value is not None}


def run_turn(client):
    response = client.post("/chat-stream", json={"message": "Hi"})
    assert response.status_code == 200, response.text
    assert '"type":"done"' in response.text


def serve_client(stack, settings):
    url = stack.enter_context(serve(settings))
    return stack.enter_context(Client(url, USER))


def login_secret(password):
    return {"username": "chat_app", "password": password, "engine": "postgres"}


@pytest.fixture
def client_with_secret(password_db, aws, model):
    """A client of warm functions, the ARN of the secret with their database password, and the database."""
    password_db.change_password("first")
    arn = aws.create(unique_name("database"), login_secret("first"))
    env = environment(password_db.url, model, DATABASE_SECRET_ARN=arn)
    with ExitStack() as stack:
        client = serve_client(stack, load_settings(env))
        run_turn(client)
        assert client.get("/api/chat/conversations").status_code == 200
        yield client, arn, password_db


def test_a_rotated_database_password_costs_one_refused_login(client_with_secret, aws):
    client, arn, database = client_with_secret
    refused = database.refused_logins()
    database.change_password("second")
    aws.rotate(arn, login_secret("second"))
    run_turn(client)  # uses the connections that are open
    assert database.refused_logins() == refused
    database.close_connections()
    run_turn(client)
    assert database.refused_logins() == refused + 1
    for _ in range(2):
        database.close_connections()
        run_turn(client)
        assert client.get("/api/chat/conversations").status_code == 200
    assert database.refused_logins() == refused + 1


def test_the_pending_password_works_between_the_two_halves_of_a_rotation(client_with_secret, aws):
    client, arn, database = client_with_secret
    refused = database.refused_logins()
    aws.prepare(arn, login_secret("second"))
    database.change_password("second")
    for _ in range(3):
        database.close_connections()
        run_turn(client)
    assert database.refused_logins() == refused + 1
    aws.rotate(arn, login_secret("second"))
    database.close_connections()
    run_turn(client)
    assert database.refused_logins() == refused + 1


@pytest.mark.wall_clock
def test_a_wrong_password_is_503_after_few_logins(client_with_secret):
    client, _, database = client_with_secret
    refused = database.refused_logins()
    database.change_password("unknown to all")
    database.close_connections()
    started_at = time.monotonic()
    response = client.post("/chat-stream", json={"message": "Hi"})
    assert time.monotonic() - started_at < 3
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.json()["userMessage"] == "Coach is taking a moment. Let's try again."
    assert 1 <= database.refused_logins() - refused <= 12  # logins of the turn and of its cancellation


@pytest.mark.parametrize("provider", [row.name for row in PROVIDERS.values() if row.needs_key])
def test_a_rotated_api_key_costs_one_refused_request(database, aws, model, provider):
    arn = aws.create(unique_name("keys"), {"key": "first", "other": "x"})
    prefix = provider.upper()
    env = environment(database.url, model, LLM_MODEL=f"{provider}/mock:tokens=3")
    env.pop(f"{prefix}_API_KEY")
    env[f"{prefix}_API_KEY_SECRET_ARN"] = f"{arn}:key"
    with ExitStack() as stack:
        client = serve_client(stack, load_settings(env))
        model.accept_only("first")
        run_turn(client)
        model.accept_only("second")
        aws.rotate(arn, {"key": "second", "other": "x"})
        for _ in range(3):
            run_turn(client)
    stats = model.stats()
    assert (stats["hits"], stats["refused"]) == (5, 1)


def test_a_wrong_api_key_is_tried_once_and_the_fallback_model_answers(database, aws, model):
    arn = aws.create(unique_name("key"), "wrong")
    env = environment(
        database.url,
        model,
        ANTHROPIC_API_KEY=None,
        ANTHROPIC_API_KEY_SECRET_ARN=arn,
        LLM_MODEL="anthropic/mock:tokens=3",
        LLM_FALLBACK_MODELS="openai/mock:tokens=3",
    )
    model.accept_only("key")
    with ExitStack() as stack:
        run_turn(serve_client(stack, load_settings(env)))
    assert model.stats()["refused"] == 1


def authorization(secret):
    signed = auth.sign(USER, secret=secret, now=time.time(), lifetime=3600)
    return {"authorization": f"Bearer {signed}"}


def test_tokens_signed_before_and_after_a_rotation_of_the_signing_secret_are_valid(database, aws, model):
    arn = aws.create(unique_name("jwt"), SECRET)
    env = environment(database.url, model, JWT_SECRET=None, JWT_SECRET_ARN=arn)
    path = "/api/chat/conversations"
    with ExitStack() as stack:
        client = serve_client(stack, load_settings(env))
        assert client.get(path, headers=authorization(SECRET)).status_code == 200
        aws.rotate(arn, OTHER_SECRET)
        assert client.get(path, headers=authorization(OTHER_SECRET)).status_code == 200
        assert client.get(path, headers=authorization(SECRET)).status_code == 200
        assert (
            client.get(path, headers=authorization("an unknown secret, long enough too")).status_code == 401
        )
    with ExitStack() as stack:  # a new process, which has not seen the previous version
        client = serve_client(stack, load_settings(env))
        assert client.get(path, headers=authorization(SECRET)).status_code == 200


def test_anonymous_users_get_tokens_signed_with_the_current_secret(database, aws, model):
    arn = aws.create(unique_name("jwt"), SECRET)
    env = environment(database.url, model, JWT_SECRET=None, JWT_SECRET_ARN=arn, ALLOW_ANONYMOUS="true")
    with ExitStack() as stack:
        client = serve_client(stack, load_settings(env))
        signed = client.post("/auth/anonymous").json()["token"]
        headers = {"authorization": f"Bearer {signed}"}
        assert client.get("/api/chat/conversations", headers=headers).status_code == 200


def test_an_iam_token_is_renewed_before_it_expires(server, database, aws, model, monkeypatch):
    clock = Clock()
    with RdsWithIam(server.socket_folder, clock) as rds, ExitStack() as stack:
        url = f"postgresql://chat_app@127.0.0.1:{rds.port}/{database.name}"
        env = environment(url, model, DATABASE_IAM_AUTH="true", AWS_REGION=REGION)
        client = serve_client(stack, load_settings(env, now=clock))
        run_turn(client)
        for minutes in (9, 16, 25, 40):
            clock.ahead = minutes * 60
            # Credentials of a role change, and the session token makes tokens of the same second different.
            monkeypatch.setenv("AWS_SESSION_TOKEN", f"of minute {minutes}")
            close_connections(database)
            run_turn(client)
    assert rds.refused == 0
    # Five connections. Connections within ten minutes of each other use the same token.
    assert [rds.presented.index(presented) for presented in rds.presented] == [0, 0, 2, 2, 4]


def test_a_refused_iam_token_is_replaced(server, database, aws, model, monkeypatch):
    with RdsWithIam(server.socket_folder, time.time) as rds, ExitStack() as stack:
        url = f"postgresql://chat_app@127.0.0.1:{rds.port}/{database.name}"
        env = environment(url, model, DATABASE_IAM_AUTH="true", AWS_REGION=REGION)
        client = serve_client(stack, load_settings(env))
        run_turn(client)
        rds.revoked.update(rds.presented)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of other credentials")
        close_connections(database)
        run_turn(client)
        assert (rds.refused, len(set(rds.presented))) == (1, 2)


def close_connections(database):
    database.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chat_app'")


def test_warm_functions_keep_working_during_an_outage_of_secrets_manager(
    password_db, aws, model, monkeypatch
):
    password_db.change_password("first")
    clock = Clock()
    env = environment(
        password_db.url,
        model,
        DATABASE_SECRET_ARN=aws.create(unique_name("database"), login_secret("first")),
        JWT_SECRET=None,
        JWT_SECRET_ARN=aws.create(unique_name("jwt"), SECRET),
        OPENAI_API_KEY=None,
        OPENAI_API_KEY_SECRET_ARN=(key := aws.create(unique_name("key"), "key")),
    )
    with ExitStack() as stack:
        client = serve_client(stack, load_settings(env, now=clock))
        run_turn(client)
        for arn in (env["DATABASE_SECRET_ARN"], env["JWT_SECRET_ARN"], key):
            aws.delete(arn)
        clock.ahead = 3600
        password_db.close_connections()
        for _ in range(3):
            run_turn(client)


@pytest.mark.wall_clock
@pytest.mark.parametrize("kind", ["JWT_SECRET", "OPENAI_API_KEY", "DATABASE"])
def test_an_unresponsive_secrets_manager_is_503_within_three_seconds(database, aws, model, monkeypatch, kind):
    missing = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:some-abcdef"
    arn_name = {
        "JWT_SECRET": "JWT_SECRET_ARN",
        "OPENAI_API_KEY": "OPENAI_API_KEY_SECRET_ARN",
        "DATABASE": "DATABASE_SECRET_ARN",
    }[kind]
    env = environment(database.url, model, **{kind: None, arn_name: missing})
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        client = serve_client(stack, load_settings(env))
        started_at = time.monotonic()
        response = client.post(
            "/chat-stream", json={"message": "Hi"}, headers={"authorization": f"Bearer {token(USER)}"}
        )
        assert time.monotonic() - started_at < 3
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.json()["userMessage"] == "Coach is taking a moment. Let's try again."
