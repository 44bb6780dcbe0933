"""Passwords, keys and tokens that change while the functions are warm: one failed attempt at most, and
no failed turn."""

import socket
import time
from contextlib import ExitStack
from uuid import uuid4

import pytest

from shared import auth
from shared.llm.providers import PROVIDERS
from shared.settings import load_settings
from tests.aws import REGION
from tests.passwords import guarded_database
from tests.rds_iam import RdsWithIam
from tests.serving import SECRET, Client, mocked, serve, token

USER = uuid4()
OTHER_SECRET = "another secret for tests, long enough too"


class Clock:
    """The real one, and what a test has turned it."""

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
def guarded():
    with guarded_database("first") as database:
        yield database


@pytest.fixture
def model(mock):
    mock.reset()
    yield mock
    mock.reset()


def kept(name):
    """A name that no other test has taken."""
    return f"{name}-{uuid4().hex}"


def environment(database_url, mock, **environ):
    """As the mock's, with what is None left out."""
    env = mocked(database_url, mock, "openai/mock:tokens=3") | environ
    return {name: value for name, value in env.items() if value is not None}


def turn(client):
    response = client.post("/chat-stream", json={"message": "Hi"})
    assert response.status_code == 200, response.text
    assert '"type":"done"' in response.text


def serving(stack, configured):
    url = stack.enter_context(serve(configured))
    return stack.enter_context(Client(url, USER))


def logins(password):
    return {"username": "chat_app", "password": password, "engine": "postgres"}


@pytest.fixture
def rotated(guarded, aws, model):
    """The functions, warm, with a password that Secrets Manager keeps; its ARN, and the database."""
    guarded.change_password("first")
    arn = aws.create(kept("database"), logins("first"))
    env = environment(guarded.url, model, DATABASE_SECRET_ARN=arn)
    with ExitStack() as stack:
        client = serving(stack, load_settings(env))
        turn(client)
        assert client.get("/api/chat/conversations").status_code == 200
        yield client, arn, guarded


def test_a_database_password_that_is_rotated_costs_one_refused_login(rotated, aws):
    client, arn, database = rotated
    refused = database.refused_logins()
    database.change_password("second")
    aws.rotate(arn, logins("second"))
    turn(client)  # on the connections at hand
    assert database.refused_logins() == refused
    database.hang_up()
    turn(client)
    assert database.refused_logins() == refused + 1
    for _ in range(2):
        database.hang_up()
        turn(client)
        assert client.get("/api/chat/conversations").status_code == 200
    assert database.refused_logins() == refused + 1


def test_between_the_two_halves_of_a_rotation_the_pending_password_serves(rotated, aws):
    client, arn, database = rotated
    refused = database.refused_logins()
    aws.prepare(arn, logins("second"))
    database.change_password("second")
    for _ in range(3):
        database.hang_up()
        turn(client)
    assert database.refused_logins() == refused + 1
    aws.rotate(arn, logins("second"))
    database.hang_up()
    turn(client)
    assert database.refused_logins() == refused + 1


@pytest.mark.wall_clock
def test_a_password_that_is_wrong_for_good_is_a_warm_error_and_is_not_tried_again_and_again(rotated):
    client, _, database = rotated
    refused = database.refused_logins()
    database.change_password("unknown to all")
    database.hang_up()
    began = time.monotonic()
    response = client.post("/chat-stream", json={"message": "Hi"})
    assert time.monotonic() - began < 3
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.json()["userMessage"] == "Coach is taking a moment. Let's try again."
    assert 1 <= database.refused_logins() - refused <= 12  # the turn's, and the giving up of it


@pytest.mark.parametrize("provider", [row.name for row in PROVIDERS.values() if row.needs_key])
def test_an_api_key_that_is_rotated_costs_one_refused_request(database, aws, model, provider):
    arn = aws.create(kept("keys"), {"key": "first", "other": "x"})
    prefix = provider.upper()
    env = environment(database.url, model, LLM_MODEL=f"{provider}/mock:tokens=3")
    env.pop(f"{prefix}_API_KEY")
    env[f"{prefix}_API_KEY_SECRET_ARN"] = f"{arn}:key"
    with ExitStack() as stack:
        client = serving(stack, load_settings(env))
        model.accept_only("first")
        turn(client)
        model.accept_only("second")
        aws.rotate(arn, {"key": "second", "other": "x"})
        for _ in range(3):
            turn(client)
    stats = model.stats()
    assert (stats["hits"], stats["refused"]) == (5, 1)


def test_an_api_key_that_is_wrong_for_good_is_asked_once_and_the_fallback_answers(database, aws, model):
    arn = aws.create(kept("key"), "wrong")
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
        turn(serving(stack, load_settings(env)))
    assert model.stats()["refused"] == 1


def authorization(secret):
    signed = auth.sign(USER, secret=secret, now=time.time(), lifetime=3600)
    return {"authorization": f"Bearer {signed}"}


def test_a_signing_secret_that_is_rotated_is_followed_and_old_tokens_stay_good(database, aws, model):
    arn = aws.create(kept("jwt"), SECRET)
    env = environment(database.url, model, JWT_SECRET=None, JWT_SECRET_ARN=arn)
    path = "/api/chat/conversations"
    with ExitStack() as stack:
        client = serving(stack, load_settings(env))
        assert client.get(path, headers=authorization(SECRET)).status_code == 200
        aws.rotate(arn, OTHER_SECRET)
        assert client.get(path, headers=authorization(OTHER_SECRET)).status_code == 200
        assert client.get(path, headers=authorization(SECRET)).status_code == 200
        assert (
            client.get(path, headers=authorization("a secret of nobody's, however long")).status_code == 401
        )
    with ExitStack() as stack:  # cold: it knows nothing of the version before
        client = serving(stack, load_settings(env))
        assert client.get(path, headers=authorization(SECRET)).status_code == 200


def test_anonymous_users_get_tokens_of_the_current_secret(database, aws, model):
    arn = aws.create(kept("jwt"), SECRET)
    env = environment(database.url, model, JWT_SECRET=None, JWT_SECRET_ARN=arn, ALLOW_ANONYMOUS="true")
    with ExitStack() as stack:
        client = serving(stack, load_settings(env))
        signed = client.post("/auth/anonymous").json()["token"]
        headers = {"authorization": f"Bearer {signed}"}
        assert client.get("/api/chat/conversations", headers=headers).status_code == 200


def test_an_iam_token_is_renewed_before_it_runs_out(server, database, aws, model, monkeypatch):
    clock = Clock()
    with RdsWithIam(server.socket_folder, clock) as rds, ExitStack() as stack:
        url = f"postgresql://chat_app@127.0.0.1:{rds.port}/{database.name}"
        env = environment(url, model, DATABASE_IAM_AUTH="true", AWS_REGION=REGION)
        client = serving(stack, load_settings(env, now=clock))
        turn(client)
        for minutes in (9, 16, 25, 40):
            clock.ahead = minutes * 60
            # A role's credentials change by and by, and tokens of the same second can be told apart.
            monkeypatch.setenv("AWS_SESSION_TOKEN", f"of minute {minutes}")
            hang_up(database)
            turn(client)
    assert rds.refused == 0
    # Five connections; those within ten minutes of each other share a token.
    assert [rds.presented.index(presented) for presented in rds.presented] == [0, 0, 2, 2, 4]


def test_an_iam_token_that_is_refused_is_made_anew(server, database, aws, model, monkeypatch):
    with RdsWithIam(server.socket_folder, time.time) as rds, ExitStack() as stack:
        url = f"postgresql://chat_app@127.0.0.1:{rds.port}/{database.name}"
        env = environment(url, model, DATABASE_IAM_AUTH="true", AWS_REGION=REGION)
        client = serving(stack, load_settings(env))
        turn(client)
        rds.revoked.update(rds.presented)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of other credentials")
        hang_up(database)
        turn(client)
        assert (rds.refused, len(set(rds.presented))) == (1, 2)


def hang_up(database):
    database.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chat_app'")


def test_warm_functions_outlive_an_outage_of_secrets_manager(guarded, aws, model, monkeypatch):
    guarded.change_password("first")
    clock = Clock()
    env = environment(
        guarded.url,
        model,
        DATABASE_SECRET_ARN=aws.create(kept("database"), logins("first")),
        JWT_SECRET=None,
        JWT_SECRET_ARN=aws.create(kept("jwt"), SECRET),
        OPENAI_API_KEY=None,
        OPENAI_API_KEY_SECRET_ARN=(key := aws.create(kept("key"), "key")),
    )
    with ExitStack() as stack:
        client = serving(stack, load_settings(env, now=clock))
        turn(client)
        for arn in (env["DATABASE_SECRET_ARN"], env["JWT_SECRET_ARN"], key):
            aws.delete(arn)
        clock.ahead = 3600
        guarded.hang_up()
        for _ in range(3):
            turn(client)


@pytest.mark.wall_clock
@pytest.mark.parametrize("kind", ["JWT_SECRET", "OPENAI_API_KEY", "DATABASE"])
def test_a_secrets_manager_that_hangs_is_a_warm_error_within_three_seconds(
    database, aws, model, monkeypatch, kind
):
    missing = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:some-abcdef"
    arn_name = {
        "JWT_SECRET": "JWT_SECRET_ARN",
        "OPENAI_API_KEY": "OPENAI_API_KEY_SECRET_ARN",
        "DATABASE": "DATABASE_SECRET_ARN",
    }[kind]
    env = environment(database.url, model, **{kind: None, arn_name: missing})
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        client = serving(stack, load_settings(env))
        began = time.monotonic()
        response = client.post(
            "/chat-stream", json={"message": "Hi"}, headers={"authorization": f"Bearer {token(USER)}"}
        )
        assert time.monotonic() - began < 3
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.json()["userMessage"] == "Coach is taking a moment. Let's try again."
