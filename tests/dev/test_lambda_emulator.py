# ruff: noqa: ASYNC110 (there is no event for a change in another process)
import asyncio
import io
import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from dev.lambda_emulator import Emulator, Function
from dev.lambda_events import resource_for
from dev.lambda_invoke import invoke

ROOT = Path(__file__).parents[2]
OWN = (sys.executable, "-u", "-m", "shared.lambda_runtime")
AWS = (sys.executable, "-m", "awslambdaric")


def toy(handler="tests.dev.toy_apps.app", command=OWN, **options):
    if command is AWS:
        command = (*AWS, handler)
    return Function(name="toy", command=command, handler=handler, root=ROOT, **options)


def emulate(scenario, *functions, log=lambda name, line: None):
    """Runs `scenario(emulator, client)` with toy functions."""

    async def main():
        async with (
            Emulator(functions or [toy()], log=log) as emulator,
            httpx.AsyncClient(base_url=emulator.url, timeout=30) as client,
        ):
            return await scenario(emulator, client)

    return asyncio.run(main())


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def state_of(pid):
    """The letter that `ps` shows: S for sleeping, T for stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


# Streaming


@pytest.mark.parametrize("event_format", ["url", "rest"])
def test_tokens_arrive_one_by_one(tmp_path, event_format):
    async def scenario(emulator, client):
        async with client.stream("GET", "/stream", params={"dir": str(tmp_path)}) as response:
            pieces = response.aiter_raw()
            got = [await anext(pieces)]
            for number in ("2", "3"):
                # The function waits for this file before it sends the next token.
                (tmp_path / number).touch()
                got.append(await anext(pieces))
            return response, got, [piece async for piece in pieces]

    response, got, rest = emulate(scenario, toy(event_format=event_format))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert got == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]
    assert rest == []


def test_a_client_that_leaves_does_not_stop_the_function(tmp_path):
    async def scenario(emulator, client):
        async with client.stream("GET", "/stream", params={"dir": str(tmp_path)}) as response:
            await anext(response.aiter_raw())
        (tmp_path / "2").touch()
        (tmp_path / "3").touch()
        await until((tmp_path / "done").exists)
        again = await client.get("/process")
        return again.json()["pid"], emulator.processes["toy"]

    pid, processes = emulate(scenario)
    assert processes == [pid]


def test_a_function_waits_for_a_client_that_reads_slowly(tmp_path):
    progress = tmp_path / "progress"

    async def scenario(emulator, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
        writer.write(
            b"GET /flood?progress=%b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % bytes(progress)
        )
        await until(progress.exists)
        before = None
        while before != (before := progress.read_text()):
            await asyncio.sleep(0.3)
        read = 0
        while piece := await reader.read(1_000_000):
            read += len(piece)
        writer.close()
        return int(before), read

    stood_at, read = emulate(scenario)
    assert stood_at < 50
    assert read > 100_000_000


def test_an_error_before_the_response_is_a_502_without_the_text_of_the_error():
    async def scenario(emulator, client):
        return await client.get("/failure"), await client.get("/process")

    response, after = emulate(scenario)
    assert response.status_code == 502
    assert response.json() == {"message": "Internal Server Error"}
    assert after.status_code == 200


def test_an_error_in_mid_stream_cuts_the_connection():
    async def scenario(emulator, client):
        async with client.stream("GET", "/broken") as response:
            pieces = response.aiter_raw()
            first = await anext(pieces)
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(pieces)
        return first, await client.get("/process")

    first, after = emulate(scenario)
    assert first == b"data: 1\n\n"
    assert after.status_code == 200


def test_the_trailers_of_a_broken_stream_have_the_error():
    async def scenario(emulator, client):
        event = await client.get("/event")
        return await emulator.invoke("toy", event.json() | {"rawPath": "/broken"})

    result = emulate(scenario)
    assert result.streaming
    assert result.payload.endswith(bytes(8) + b"data: 1\n\n")
    assert result.failure
    assert result.failure.reason == "Function.Unhandled"
    assert json.loads(result.failure.body)["errorType"] == "LookupError"


# Requests and responses


def test_bytes_cookies_and_empty_responses_pass_unchanged():
    content = bytes(range(256)) * 1000

    async def scenario(emulator, client):
        echoed = await client.post("/echo", content=content)
        with_cookies = await client.get("/cookies")
        statuses, connections = [], set()
        for method, path in (("GET", "/nothing"), ("HEAD", "/process"), ("GET", "/nothing")):
            response = await client.request(method, path)
            statuses.append(response.status_code)
            connections.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        return echoed, with_cookies, statuses, connections

    echoed, with_cookies, statuses, connections = emulate(scenario)
    assert echoed.content == content
    assert with_cookies.status_code == 201
    assert with_cookies.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert statuses == [204, 200, 204]
    # A response without a body keeps the connection.
    assert len(connections) == 1


def test_a_function_url_event():
    async def scenario(emulator, client):
        return await client.post(
            "/event?a=1&a=2&b=%20",
            content='{"é":1}'.encode(),
            headers=[
                ("Content-Type", "application/json"),
                ("X-Tag", "one"),
                ("X-Tag", "two"),
                ("Cookie", "c=1; d=2"),
                ("X-Forwarded-For", "198.51.100.1"),
            ],
        )

    event = emulate(scenario).json()
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/event"
    assert event["rawQueryString"] == "a=1&a=2&b=%20"
    assert event["queryStringParameters"] == {"a": "1,2", "b": " "}
    assert event["cookies"] == ["c=1", "d=2"]
    assert event["headers"]["x-tag"] == "one,two"
    assert event["headers"]["x-forwarded-for"] == "198.51.100.1, 127.0.0.1"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["body"] == '{"é":1}'
    assert event["isBase64Encoded"] is False


def test_a_rest_api_event():
    async def scenario(emulator, client):
        return await client.post(
            "/event?a=1&a=2&b=%20", content=b"\0", headers=[("X-Tag", "one"), ("X-Tag", "two")]
        )

    event = emulate(scenario, toy(event_format="rest", routes=["/{name}"])).json()
    assert event["resource"] == "/{name}"
    assert event["path"] == "/event"
    assert event["httpMethod"] == "POST"
    assert event["pathParameters"] == {"name": "event"}
    assert event["queryStringParameters"] == {"a": "2", "b": " "}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [" "]}
    assert event["headers"]["X-Tag"] == "two"
    assert event["multiValueHeaders"]["X-Tag"] == ["one", "two"]
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["path"] == "/local/event"
    assert event["body"] == "AA=="
    assert event["isBase64Encoded"] is True


def test_the_most_specific_route_wins():
    routes = ["/{proxy+}", "/items/{id}", "/items/new", "/items/{id}/stream"]
    assert resource_for("/items/new", routes) == "/items/new"
    assert resource_for("/items/7", routes) == "/items/{id}"
    assert resource_for("/items/7/stream", routes) == "/items/{id}/stream"
    assert resource_for("/items/7/other", routes) == "/{proxy+}"
    assert resource_for("/", routes) is None


def test_a_path_without_a_function_and_a_body_over_6_megabytes_are_refused():
    async def scenario(emulator, client):
        return (
            await client.get("/elsewhere"),
            await client.post("/echo", content=bytes(6 * 1024 * 1024 + 1)),
            await client.get("/process"),
        )

    answers = emulate(scenario, toy(routes=["/process", "/echo"]))
    assert [answer.status_code for answer in answers] == [404, 413, 200]


# Processes


def test_a_process_is_frozen_between_invocations_and_serves_the_next():
    async def scenario(emulator, client):
        first = (await client.get("/process")).json()["pid"]
        await until(lambda: state_of(first) == "T")
        second = (await client.get("/process")).json()["pid"]
        return first, second

    first, second = emulate(scenario)
    assert first == second


def test_each_concurrent_request_has_its_own_process_and_429_above_the_limit(tmp_path):
    async def scenario(emulator, client):
        gate = tmp_path / "gate"
        waiting = [asyncio.create_task(client.get("/process", params={"until": str(gate)})) for _ in range(3)]
        await until(lambda: len(emulator.processes["toy"]) == 3)
        refused = await client.get("/process")
        gate.touch()
        answers = [(await response).json() for response in waiting]
        later = []
        for _ in range(2):
            await until(lambda: all(state_of(pid) == "T" for pid in emulator.processes["toy"]))
            later.append((await client.get("/process")).json())
        return refused, answers, later

    refused, answers, later = emulate(scenario, toy(max_concurrency=3))
    assert refused.status_code == 429
    assert len({answer["pid"] for answer in answers}) == 3
    assert {answer["running"] for answer in answers} == {1}
    # The process that was used last is used next.
    assert later[0] == later[1]


def test_requests_one_after_the_other_use_one_process():
    async def scenario(emulator, client):
        return [(await client.get("/process")).json()["pid"] for _ in range(20)]

    assert len(set(emulate(scenario, toy(max_concurrency=1)))) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_process_is_killed_at_the_timeout(begun):
    lines = []

    async def scenario(emulator, client):
        pid = (await client.get("/process")).json()["pid"]
        try:
            response = await client.get("/hang", params={"begun": "1"} if begun else {})
        except httpx.RemoteProtocolError:
            response = None
        after = (await client.get("/process")).json()["pid"]
        await until(lambda: gone(pid))
        return pid, response, after

    pid, response, after = emulate(
        scenario, toy(timeout=0.5), log=lambda name, line: lines.append((name, line))
    )
    assert ("toy", "invocation failed: Sandbox.Timedout") in lines
    assert (response is None) if begun else (response.status_code == 504)
    assert after != pid


def test_a_process_that_exits_is_a_502_and_the_next_invocation_has_a_new_process():
    lines = []

    async def scenario(emulator, client):
        return await client.get("/leave"), await client.get("/process")

    response, after = emulate(scenario, log=lambda name, line: lines.append((name, line)))
    assert response.status_code == 502
    assert after.status_code == 200
    assert ("toy", "leaving") in lines


def test_a_failed_init_is_a_502_and_the_next_invocation_starts_again(tmp_path):
    async def scenario(emulator, client):
        return await client.get("/process"), await client.get("/process")

    function = toy(env={"INIT_FAILS_ONCE": str(tmp_path / "failed")})
    first, second = emulate(scenario, function)
    assert (first.status_code, second.status_code) == (502, 200)


def test_a_process_that_died_while_idle_is_replaced():
    async def scenario(emulator, client):
        pid = (await client.get("/process")).json()["pid"]
        await until(lambda: state_of(pid) == "T")
        os.kill(pid, 9)
        await until(lambda: pid not in emulator.processes["toy"])
        return await client.get("/process")

    assert emulate(scenario).status_code == 200


def test_a_function_has_lambdas_environment_its_own_and_its_deadline():
    async def scenario(emulator, client):
        return (await client.get("/environment")).json(), (await client.get("/context")).json()

    environment, milliseconds = emulate(scenario, toy(env={"DATABASE_URL": "postgres://"}, timeout=60))
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "toy"
    assert environment["DATABASE_URL"] == "postgres://"
    assert environment["LAMBDA_TASK_ROOT"] == str(ROOT)
    assert "PYTEST_CURRENT_TEST" not in environment
    assert 50_000 < milliseconds <= 60_000


def test_no_process_outlives_the_emulator():
    async def scenario(emulator, client):
        hanging = asyncio.create_task(client.get("/hang"))
        await until(lambda: emulator.processes["toy"])
        pids = emulator.processes["toy"]
        hanging.cancel()
        return pids

    (pid,) = emulate(scenario)
    assert gone(pid)


def test_a_process_restored_from_its_snapshot_serves(tmp_path):
    lines: list[str] = []

    async def scenario(emulator, client):
        return await client.get("/")

    function = toy("tests.shared.lambda_runtime.toy_functions:app", snap_start=True)
    response = emulate(scenario, function, log=lambda name, line: lines.append(line))
    assert response.text == "healthy"
    assert lines == ["startup", "shutdown", "startup", "shutdown"]


# Other runtimes


def raw(script):
    """A minimal runtime. In `script`, `api(method, path, body)` returns the status and the headers."""
    prologue = """
import http.client, os
def api(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, "/2018-06-01/runtime" + path, body)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers
"""
    return toy(command=(sys.executable, "-u", "-c", prologue + script))


def test_a_runtime_that_asks_for_the_next_event_before_its_answer_fails():
    async def scenario(emulator, client):
        return await client.get("/"), await emulator.invoke("toy", {})

    response, result = emulate(scenario, raw("while True: api('GET', '/invocation/next')"))
    assert response.status_code == 502
    assert result.failure
    assert result.failure.reason == "Runtime.NoResponse"


def test_calls_that_the_runtime_api_does_not_allow_are_refused():
    lines: list[str] = []

    async def scenario(emulator, client):
        response = await client.get("/")
        await until(lambda: len(lines) == 5)
        return response

    function = raw("""
_, headers = api("GET", "/invocation/next")
answer = f"/invocation/{headers['Lambda-Runtime-Aws-Request-Id']}"
body = '{"statusCode": 200}'
print(api("POST", "/invocation/another/response", body)[0])
print(api("POST", "/nowhere", body)[0])
print(api("POST", answer + "/response", body)[0])
print(api("POST", answer + "/response", body)[0])
print(api("POST", answer + "/error", body)[0])
api("GET", "/invocation/next")
""")
    assert emulate(scenario, function, log=lambda name, line: lines.append(line)).status_code == 200
    assert lines == ["400", "404", "202", "400", "400"]


@pytest.mark.parametrize("event_format", ["url", "rest"])
def test_the_runtime_client_of_aws_works(event_format):
    async def scenario(emulator, client):
        return await client.get("/"), await client.get("/fail"), await client.get("/")

    first, failed, again = emulate(
        scenario, toy("tests.dev.toy_apps.handler", AWS, event_format=event_format)
    )
    assert first.content == b"\0 bytes"
    assert first.headers["content-type"] == "application/octet-stream"
    assert first.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert failed.status_code == 502
    assert again.status_code == 200
    assert first.headers["x-request"] != again.headers["x-request"]


def test_a_handler_can_be_invoked_without_http():
    async def scenario(emulator, client):
        return await emulator.invoke("toy", {"ä": [1]})

    result = emulate(scenario, toy("tests.dev.toy_apps.echo_handler", AWS, timeout=60))
    assert result.failure is None
    assert not result.streaming
    answer = json.loads(result.payload)
    assert answer["event"] == {"ä": [1]}
    assert 50_000 < answer["remaining"] <= 60_000


@pytest.mark.parametrize("handler", ["oversized", "malformed", "missing"])
def test_a_payload_that_is_no_response_is_a_502(handler):
    async def scenario(emulator, client):
        return await client.get("/")

    assert emulate(scenario, toy(f"tests.dev.toy_apps.{handler}", AWS)).status_code == 502


def test_the_bootstrap_starts_the_runtime_as_lambda_calls_it():
    async def scenario(emulator, client):
        return (await client.get("/environment")).json()

    bootstrap = (str(ROOT / "functions/chat_stream/bootstrap"), sys.executable, "/var/runtime/bootstrap.py")
    environment = emulate(scenario, toy(command=bootstrap))
    path = environment["PYTHONPATH"].split(":")
    assert path[0] == str(ROOT)
    assert path[-1] == "/var/runtime"


# The command


def test_invoke_prints_the_response_and_returns_an_exit_code():
    event = json.loads((ROOT / "events/health_url.json").read_text())
    output = io.BytesIO()
    assert invoke(toy("tests.shared.lambda_runtime.toy_functions:app"), event, output=output) == 0
    assert output.getvalue() == b"200\ncontent-type: application/octet-stream\n\nhealthy"
    assert invoke(toy("tests.shared.lambda_runtime.toy_functions:app"), {}, output=output) == 1
