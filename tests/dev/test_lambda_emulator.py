# ruff: noqa: ASYNC110 (what happens in other processes has no event to wait for)
import asyncio
import io
import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from dev.lambda_emulator import Emulator, Function, in_thread
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
    """As `ps` shows it: S sleeps, T is stopped."""
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
                # The function has not made the next one before this file is there.
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


def test_a_client_that_reads_slowly_slows_the_function_down(tmp_path):
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


def test_an_error_before_the_response_is_a_502_without_its_text():
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


def test_trailers_of_a_broken_stream_carry_the_error():
    async def scenario(emulator, client):
        event = await client.get("/event")
        return await emulator.invoke("toy", event.json() | {"rawPath": "/broken"})

    result = emulate(scenario)
    assert result.streaming
    assert result.payload.endswith(bytes(8) + b"data: 1\n\n")
    assert result.failure
    assert result.failure.reason == "Function.Unhandled"
    assert json.loads(result.failure.body)["errorType"] == "LookupError"


def test_an_event_that_is_no_request_is_a_clear_error():
    async def scenario(emulator, client):
        return await emulator.invoke("toy", {"source": "aws.events"}), await client.get("/process")

    result, after = emulate(scenario)
    assert result.failure
    assert result.failure.reason == "Function.UnsupportedEvent"
    assert after.status_code == 200


# Requests and responses


def test_bodies_of_bytes_come_back_as_they_went():
    async def scenario(emulator, client):
        return await client.post("/echo", content=bytes(range(256)) * 1000)

    assert emulate(scenario).content == bytes(range(256)) * 1000


def test_each_cookie_has_a_header_of_its_own():
    async def scenario(emulator, client):
        return await client.get("/cookies")

    response = emulate(scenario)
    assert response.status_code == 201
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]


def test_responses_without_a_body_keep_the_connection():
    async def scenario(emulator, client):
        statuses, connections = [], set()
        for method, path in (("GET", "/nothing"), ("HEAD", "/process"), ("GET", "/nothing")):
            response = await client.request(method, path)
            statuses.append(response.status_code)
            connections.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        return statuses, connections

    statuses, connections = emulate(scenario)
    assert statuses == [204, 200, 204]
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


def test_the_most_literal_route_wins():
    routes = ["/{proxy+}", "/items/{id}", "/items/new", "/items/{id}/stream"]
    assert resource_for("/items/new", routes) == "/items/new"
    assert resource_for("/items/7", routes) == "/items/{id}"
    assert resource_for("/items/7/stream", routes) == "/items/{id}/stream"
    assert resource_for("/items/7/other", routes) == "/{proxy+}"
    assert resource_for("/", routes) is None


def test_a_path_without_a_function_is_not_found():
    async def scenario(emulator, client):
        return await client.get("/elsewhere")

    assert emulate(scenario, toy(routes=["/process"])).status_code == 404


def test_a_request_that_lambda_would_not_take_is_refused():
    async def scenario(emulator, client):
        return await client.post("/echo", content=bytes(6 * 1024 * 1024 + 1)), await client.get("/process")

    refused, after = emulate(scenario)
    assert refused.status_code == 413
    assert after.status_code == 200


# Processes


def test_a_process_is_frozen_between_invocations_and_goes_on_with_the_next():
    async def scenario(emulator, client):
        first = (await client.get("/process")).json()["pid"]
        await until(lambda: state_of(first) == "T")
        second = (await client.get("/process")).json()["pid"]
        return first, second

    first, second = emulate(scenario)
    assert first == second


def test_concurrent_requests_have_a_process_each_and_beyond_the_limit_429(tmp_path):
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
    # The one used last is the one used next.
    assert later[0] == later[1]


def test_a_request_follows_another_at_once_without_a_second_process():
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


def test_a_process_that_exits_is_a_502_and_the_next_invocation_has_another():
    lines = []

    async def scenario(emulator, client):
        return await client.get("/leave"), await client.get("/process")

    response, after = emulate(scenario, log=lambda name, line: lines.append((name, line)))
    assert response.status_code == 502
    assert after.status_code == 200
    assert ("toy", "leaving") in lines


def test_an_init_that_fails_is_a_502_and_the_next_invocation_tries_again(tmp_path):
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


def test_a_function_finds_lambdas_environment_and_its_own_and_nothing_else():
    async def scenario(emulator, client):
        return await client.get("/environment")

    environment = emulate(scenario, toy(env={"DATABASE_URL": "postgres://"})).json()
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "toy"
    assert environment["DATABASE_URL"] == "postgres://"
    assert environment["LAMBDA_TASK_ROOT"] == str(ROOT)
    assert "PYTEST_CURRENT_TEST" not in environment


def test_the_deadline_is_the_functions_timeout_away():
    async def scenario(emulator, client):
        return await client.get("/context")

    assert 50_000 < emulate(scenario, toy(timeout=60)).json() <= 60_000


def test_nothing_is_left_running_when_the_emulator_ends():
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
    """A runtime as small as can be; `api(method, path)` gives the answer's status and headers."""
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


def test_a_runtime_that_asks_for_more_before_it_has_answered_has_failed():
    async def scenario(emulator, client):
        return await client.get("/"), await emulator.invoke("toy", {})

    response, result = emulate(scenario, raw("while True: api('GET', '/invocation/next')"))
    assert response.status_code == 502
    assert result.failure
    assert result.failure.reason == "Runtime.NoResponse"


def test_what_a_runtime_may_not_send_is_refused():
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
def test_awss_own_runtime_client_is_understood(event_format):
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


def test_a_handler_may_be_invoked_without_a_front_door():
    async def scenario(emulator, client):
        return await emulator.invoke("toy", {"ä": [1]})

    result = emulate(scenario, toy("tests.dev.toy_apps.echo_handler", AWS, timeout=60))
    assert result.failure is None
    assert not result.streaming
    answer = json.loads(result.payload)
    assert answer["event"] == {"ä": [1]}
    assert 50_000 < answer["remaining"] <= 60_000


@pytest.mark.parametrize("handler", ["oversized", "malformed", "missing"])
def test_what_no_response_can_be_made_of_is_a_502(handler):
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


# Other ways in


def test_it_serves_code_that_is_not_async():
    with in_thread(Emulator([toy()], log=lambda name, line: None)) as url:
        assert httpx.get(f"{url}/process", timeout=30).status_code == 200


def test_invoke_prints_the_response_and_says_how_it_went():
    event = json.loads((ROOT / "events/health_url.json").read_text())
    output = io.BytesIO()
    assert invoke(toy("tests.shared.lambda_runtime.toy_functions:app"), event, output=output) == 0
    assert output.getvalue() == b"200\ncontent-type: application/octet-stream\n\nhealthy"
    assert invoke(toy("tests.shared.lambda_runtime.toy_functions:app"), {}, output=output) == 1
