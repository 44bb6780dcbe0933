"""The smoke test passes on a server that works, and names what fails on another."""

import socket
from uuid import uuid4

import pytest

from infra import smoke
from shared.settings import load_settings
from tests.serving import environment, mocked, serve, serve_on_lambda, settings, token


@pytest.fixture
def working(database):
    with serve(settings(database.url, ALLOW_ANONYMOUS="true")) as url:
        yield url


STEPS = ["health", "turn", "stop", "resume", "history", "cost"]


def test_a_server_that_works_passes_every_step(working, database, capsys):
    assert smoke.main(working, token(uuid4())) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:-1]] == STEPS
    assert "complete, cancelled, complete" in said[4]
    # It leaves no conversation behind.
    assert database.rows("select * from conversations") == []


def test_functions_on_the_emulator_pass_for_an_anonymous_user(database, capsys):
    with serve_on_lambda(environment(database.url, ALLOW_ANONYMOUS="true")) as url:
        assert smoke.main(url) == 0
    assert "cost" in capsys.readouterr().out


def test_without_anonymous_users_it_asks_for_a_token(database, capsys):
    with serve(settings(database.url)) as url:
        assert smoke.main(url) == 1
    assert "TOKEN=… is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("500", "turn: answered with 502 upstream_error"),
        ("cut,after=2", "turn: the answer ended with {'type': 'error'"),
        ("tokens=3", "stop: the answer ended with {'type': 'done'"),
    ],
)
def test_a_failure_of_the_model_is_named(database, mock, capsys, script, said):
    with serve(load_settings(mocked(database.url, mock, f"openai/mock:{script}"))) as url:
        assert smoke.main(url, token(uuid4())) == 1
    assert said in capsys.readouterr().err


def test_a_wrong_token_is_named(working, capsys):
    assert smoke.main(working, "wrong") == 1
    assert "turn: answered with 401 unauthorized" in capsys.readouterr().err


def test_a_refused_connection_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert smoke.main(f"http://127.0.0.1:{port}", "token") == 1
    assert "health: ConnectError" in capsys.readouterr().err
