"""Database credentials from settings become parameters of libpq."""

import asyncio
import json
import ssl
from pathlib import Path

import certifi
import pytest
from cryptography import x509

from shared import db_credentials
from shared.database_settings import database_credentials
from shared.db_credentials import DatabaseCredentials
from shared.environment import Environment
from shared.errors import Unavailable
from shared.secret_sources import StaticSecret
from shared.settings import ConfigError, load_settings
from tests.aws import CREDENTIALS

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-abcdef"
HOST = "chat.cluster-cdefghijklmn.eu-central-1.rds.amazonaws.com"
AUTHORITIES = Path(db_credentials.__file__).parent / "rds_ca"


def login(**environ):
    return database_credentials(Environment(environ), "DATABASE")


def connect_args(parameters, **secret):
    """The parameters of libpq for a secret with this content."""
    return DatabaseCredentials(parameters=parameters, secret=StaticSecret(json.dumps(secret))).connect_args(
        json.dumps(secret)
    )


def test_a_url_is_used_unchanged():
    url = "postgresql://chat_app:word@db/chat?sslmode=require"
    assert login(DATABASE_URL=url).connect_args(None) == {"conninfo": url}
    assert login(DATABASE_URL=url, DATABASE_CA_FILE="/ca.pem").connect_args(None) == {"conninfo": url}


def test_a_configured_ca_file_is_used_for_every_server():
    verified = {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}
    url = "postgresql://db/chat"
    assert login(DATABASE_URL=url, DATABASE_CA_FILE="/ca.pem").connect_args(None) == {
        "conninfo": url,
        **verified,
    }
    credentials = login(DATABASE_URL=url, DATABASE_SECRET_ARN=ARN, DATABASE_CA_FILE="/ca.pem")
    assert verified.items() <= credentials.connect_args('{"username": "u", "password": "p"}').items()


def test_a_secret_of_rds_may_have_all_parameters():
    secret = {
        "username": "u",
        "password": "p",
        "host": "localhost",
        "port": 5433,
        "dbname": "chat",
        "engine": "x",
    }
    assert connect_args({}, **secret) == {
        "user": "u",
        "password": "p",
        "host": "localhost",
        "port": "5433",
        "dbname": "chat",
    }


def test_a_managed_secret_has_the_login_and_the_url_has_the_address():
    parameters = login(
        DATABASE_URL="postgresql://ignored@localhost:6432/chat?connect_timeout=3", DATABASE_SECRET_ARN=ARN
    ).parameters
    assert connect_args(parameters, username="u%40", password="p w'\\") == {
        "user": "u%40",
        "password": "p w'\\",
        "host": "localhost",
        "port": "6432",
        "dbname": "chat",
        "connect_timeout": "3",
    }


@pytest.mark.parametrize(
    ("host", "authorities"),
    [
        (HOST, AUTHORITIES / "eu-central-1.pem"),
        ("chat.cdefghijklmn.us-east-1.rds.amazonaws.com", AUTHORITIES / "us-east-1.pem"),
        ("chat.proxy-cdefghijklmn.eu-central-1.rds.amazonaws.com", AUTHORITIES / "proxy.pem"),
        ("db.example.com", certifi.where()),
    ],
)
def test_a_password_is_sent_only_to_a_server_with_a_verified_certificate(host, authorities):
    args = connect_args({"host": host}, username="u", password="p")
    assert (args["sslmode"], args["sslrootcert"]) == ("verify-full", str(authorities))
    ssl.create_default_context(cafile=args["sslrootcert"])


def test_tls_parameters_of_the_url_are_kept():
    args = connect_args({"host": HOST, "sslmode": "require"}, username="u", password="p")
    assert (args["sslmode"], "sslrootcert" in args) == ("require", False)


# One certificate has the serial number 0, which the standard does not allow.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("file", sorted(AUTHORITIES.iterdir()), ids=lambda file: file.stem)
def test_the_ca_certificates_are_valid_for_years(file):
    certificates = x509.load_pem_x509_certificates(file.read_bytes())
    assert len(certificates) == (5 if file.stem == "proxy" else 3)
    for authority in certificates:
        assert file.stem == "proxy" or file.stem in authority.subject.rfc4514_string()
        assert authority.not_valid_after_utc.year >= 2037


@pytest.mark.parametrize("secret", ["", "{}", '{"username": "u"}', '{"username": 1, "password": "p"}', "[]"])
def test_a_malformed_secret_is_unavailable_and_not_quoted(secret):
    with pytest.raises(Unavailable) as caught:
        DatabaseCredentials(parameters={}, secret=StaticSecret(secret)).connect_args(secret)
    assert caught.value.message == "the database's secret is malformed"


def test_with_iam_the_password_is_a_token_for_the_host_and_user(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    by_token = login(
        DATABASE_URL=f"postgresql://chat_app@{HOST}/chat", DATABASE_IAM_AUTH="true", AWS_REGION="eu-central-1"
    )
    args = by_token.connect_args(asyncio.run(by_token.password()))
    assert args["password"].startswith(f"{HOST}:5432/?Action=connect&DBUser=chat_app&X-Amz-Algorithm=AWS4")
    assert args["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"DATABASE_SECRET_ARN": "my-secret"}, "DATABASE_SECRET_ARN"),
        ({"DATABASE_SECRET_ARN": ARN, "DATABASE_URL": "postgresql://u:word@db/chat"}, "DATABASE_URL"),
        ({"DATABASE_SECRET_ARN": ARN, "DATABASE_URL": "postgresql://u@db:port/chat"}, "DATABASE_URL"),
        ({"DATABASE_SECRET_ARN": ARN, "DATABASE_IAM_AUTH": "true"}, "DATABASE_IAM_AUTH"),
        ({"DATABASE_IAM_AUTH": "true", "DATABASE_URL": "host=db user=u"}, "DATABASE_URL"),
        ({"DATABASE_IAM_AUTH": "true", "DATABASE_URL": "postgresql://db/chat"}, "DATABASE_URL"),
        ({"DATABASE_IAM_AUTH": "true"}, "DATABASE_URL"),
        ({}, "DATABASE_URL"),
    ],
    ids=["name", "password", "port", "both", "conninfo", "no-user", "no-url", "nothing"],
)
def test_an_error_names_contradicting_or_missing_settings(environ, named):
    with pytest.raises(ConfigError, match=named) as caught:
        login(**environ, AWS_REGION="eu-central-1")
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    ("name", "arn_name"),
    [("JWT_SECRET", "JWT_SECRET_ARN"), ("OPENAI_API_KEY", "OPENAI_API_KEY_SECRET_ARN")],
)
def test_a_secret_and_its_arn_must_not_both_be_set(name, arn_name):
    needed = {"DATABASE_URL": "postgresql://", "JWT_JWKS_URL": "https://id.example/jwks"}
    load_settings({**needed, arn_name: ARN})
    with pytest.raises(ConfigError, match=f"{name} and {arn_name}"):
        load_settings({**needed, arn_name: ARN, name: "x"})
