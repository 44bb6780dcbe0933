"""`sam local invoke` with the sample events: sam's own code resolves the environment from the template and
events/env.json, and the bundles start with exactly this environment. A container is not started."""

import asyncio
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from dev import postgres
from dev.lambda_emulator import Emulator
from dev.lambda_payload import PayloadReader, ResponseHead
from dev.local import ROOT
from migrations import files
from tests.infra.bundles import ARCHITECTURES, make
from tests.postgres_proxy import PostgresProxy

pytestmark = pytest.mark.xdist_group("bundles")  # one worker, so that each bundle is built once

# For each sample event: the function in the template and in `make invoke`, the status, a part of the body.
EVENTS = {
    "health_rest": ("ChatStreamFunction", "chat_stream", 200, '{"status":"ok"}'),
    "health_url": ("ChatStreamFunction", "chat_stream", 200, '{"status":"ok"}'),
    "chat_stream_rest": ("ChatStreamFunction", "chat_stream", 200, '"type":"done"'),
    "chat_stream_url": ("ChatStreamFunction", "chat_stream", 200, '"type":"done"'),
    "conversations_create_rest": ("ConversationsFunction", "conversations", 201, '"title":"Stories"'),
    "conversations_list_rest": ("ConversationsFunction", "conversations", 200, '"conversations":['),
    "messages_list_rest": ("ConversationsFunction", "conversations", 404, '"code":"not_found"'),
}
TEMPLATE = ROOT / "infra/template.yaml"
OVERRIDES = ROOT / "events/env.json"
# The only variable that the template gives and events/env.json does not. No shell has it.
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"

# Prints the environment of each function as `sam local invoke` passes it to the container.
_RESOLVE = """
import json, sys
from samcli.commands.local.cli_common.invoke_context import InvokeContext
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider

template, overrides = sys.argv[1:]
stacks, _ = SamLocalStackProvider.get_stacks(template)
provider = SamFunctionProvider(stacks, ignore_code_extraction_warnings=True)
values = InvokeContext._get_env_vars_value(overrides)
runner = LocalLambdaRunner(None, provider, ".", ".", env_vars_values=values)
environments = {
    function.name: runner.get_invoke_config(function).env_vars.resolve() for function in provider.get_all()
}
print(json.dumps(environments))
"""


def resolve(shell=None):
    """The environment of each function. `shell` are variables of the shell that starts sam."""
    make(".venv-deploy/ready")
    done = subprocess.run(
        [ROOT / ".venv-deploy/bin/python", "-c", _RESOLVE, TEMPLATE, OVERRIDES],
        env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", **(shell or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def port():
    """The port of a Postgres without our tables. It asks chat_app for a password."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = postgres.start(Path(folder) / "data")
        rules = server.data / "pg_hba.conf"
        rules.write_text("local all chat_app scram-sha-256\n" + rules.read_text("utf-8"), "utf-8")
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")
        with PostgresProxy(server.socket_folder, lose_reply_to="", times=0) as proxy:
            yield urlsplit(proxy.url(server.superuser_url)).port
        server.stop()


@pytest.fixture(scope="module")
def environments(port):
    """The environments of sam, with the address of this Postgres."""
    resolved = json.dumps(resolve())
    return json.loads(resolved.replace("host.docker.internal:5432", f"127.0.0.1:{port}"))


@pytest.fixture(scope="module")
def migrated(image, environments):
    """What MigrateFunction answers in a new database."""
    function = image.migrate(environments["MigrateFunction"])
    [payload] = invoke_under_emulator(function, [{}])
    return json.loads(payload)


def invoke_under_emulator(function, events):
    """The payloads of one process under this project's emulator of Lambda."""

    async def all_events():
        async with Emulator([function]) as emulator:
            results = [await emulator.invoke(function.name, event) for event in events]
        assert {result.failure for result in results} == {None}
        return [result.payload for result in results]

    return asyncio.run(all_events())


def invoke_under_rie(function, events):
    """The payloads of one process under AWS's Runtime Interface Emulator, the program that sam copies into
    its containers."""
    with rie(function) as url, httpx.Client(transport=httpx.HTTPTransport(retries=6), timeout=30) as client:
        responses = [client.post(url, json=event) for event in events]
    assert {response.status_code for response in responses} == {200}
    return [response.content for response in responses]


@contextmanager
def rie(function):
    """The URL of the invocations."""
    architecture = ARCHITECTURES[platform.machine()]
    [program] = (ROOT / ".venv-deploy/lib").glob(f"python*/**/rapid/aws-lambda-rie-{architecture}")
    address, api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [str(program), "--log-level", "error", "--runtime-interface-emulator-address", address]
    command += ["--runtime-api-address", api, *function.command, function.handler]
    # These variables are those of AWS's image.
    env = {"PATH": os.environ["PATH"], "LAMBDA_TASK_ROOT": str(function.root), **function.env}
    with subprocess.Popen(command, cwd=function.root, env=env, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"http://{address}/2015-03-31/functions/function/invocations"
        finally:
            process.terminate()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def bundled(image, name, env):
    """The function of the template, started as on Lambda from its bundle, with `env`."""
    if name == "ConversationsFunction":
        return image.conversations(env)
    function = image.chat_stream(env)
    wrapper = function.root / Path(env[WRAPPER]).relative_to("/var/task")
    return replace(function, command=[str(wrapper), *function.command[1:]])


def read_response(payload, *, streaming):
    reader = PayloadReader(streaming=streaming)
    pieces = [*reader.feed(payload), *reader.close()]
    [status] = [piece.status for piece in pieces if isinstance(piece, ResponseHead)]
    return status, b"".join(piece for piece in pieces if isinstance(piece, bytes)).decode()


def test_the_migration_function_creates_the_tables_and_the_password_of_chat_app(migrated):
    assert migrated["applied"][0] == files.load().migrations[0].name


@pytest.mark.parametrize("invoke", [invoke_under_emulator, invoke_under_rie])
@pytest.mark.parametrize("name", ["ChatStreamFunction", "ConversationsFunction"])
def test_every_sample_event_is_answered_with_the_environment_of_sam(
    image, environments, migrated, name, invoke
):
    samples = {event: row for event, row in EVENTS.items() if row[0] == name}
    function = bundled(image, name, environments[name])
    payloads = invoke(function, [json.loads(path(event).read_text("utf-8")) for event in samples])
    for (event, (_, _, status, body)), payload in zip(samples.items(), payloads, strict=True):
        answered, text = read_response(payload, streaming=name == "ChatStreamFunction")
        assert (event, answered) == (event, status), text
        assert body in text, event


@pytest.mark.parametrize("event", EVENTS)
def test_make_invoke_answers_every_sample_event(event, database):
    _, name, status, body = EVENTS[event]
    done = subprocess.run(
        [sys.executable, "-m", "dev", "lambda_server", "invoke", name, path(event)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(status), done.stdout
    assert body in done.stdout


def path(event):
    return ROOT / f"events/{event}.json"


def test_variables_of_the_shell_do_not_change_the_environment():
    """sam prefers a variable of the shell to the template. So events/env.json sets each one."""
    plain = resolve()
    overrides = json.loads(OVERRIDES.read_text("utf-8"))["Parameters"]
    declared = {
        name for env in plain.values() for name in env if not name.startswith("AWS_")
    } | overrides.keys()
    assert {"DATABASE_URL", "JWT_SECRET", "LLM_MODEL", "MIGRATION_DATABASE_URL"} <= declared
    assert resolve(shell=dict.fromkeys(declared, "of the shell")) == plain


def test_every_override_is_declared_by_a_function():
    """sam ignores an override of a variable that the template does not declare."""
    declared = {name for env in resolve().values() for name in env}
    overrides = json.loads(OVERRIDES.read_text("utf-8"))
    assert overrides.keys() == {"Parameters"}
    assert overrides["Parameters"].keys() <= declared


def test_the_guide_lists_every_sample_event_with_its_status():
    text = (ROOT / "docs/deploy.md").read_text("utf-8")
    rows = re.findall(r"^\| `events/(\w+)\.json` \| `(\w+)` \| (\d+)\b", text, re.MULTILINE)
    assert rows == [(event, name, str(status)) for event, (name, _, status, _) in EVENTS.items()]
    assert {file.stem for file in (ROOT / "events").glob("*.json")} == {*EVENTS, "env"}
