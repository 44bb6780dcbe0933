import asyncio
import base64
import json
import os
import random
import sys
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import pytest

from shared.lambda_runtime.loop import run
from shared.lambda_runtime.runtime_api import RuntimeApi
from tests.shared.lambda_runtime import toy_functions
from tests.shared.lambda_runtime.scripted_runtime_api import (
    EMPTY,
    GET_HEALTH,
    body,
    invocation,
    ok,
    posts_of,
    scripted_api,
    serving,
    start,
)

ROOT = Path(__file__).parents[3]


# Failures of the app


def test_an_error_before_the_response_is_reported_without_its_text():
    async def app(scope, receive, send):
        raise LookupError("the message that a user wrote")

    assert posts_of(app, GET_HEALTH) == [
        (
            b"POST /2018-06-01/runtime/invocation/req-1/error HTTP/1.1\r\n"
            b"Host: 127.0.0.1:PORT\r\n"
            b"User-Agent: serverless-chat\r\n"
            b"Lambda-Runtime-Function-Error-Type: Function.Unhandled\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: 99\r\n"
            b"\r\n"
            b'{"errorMessage": "The function failed; see its log.", '
            b'"errorType": "LookupError", "stackTrace": []}'
        )
    ]


def test_an_error_report_repeats_the_invocation_id():
    async def app(scope, receive, send):
        raise LookupError

    async def main():
        event = invocation(GET_HEALTH, "req-1", "Lambda-Runtime-Invocation-Id: inv-1")
        async with scripted_api(event) as api, serving(app, api):
            return await api.posted(1)

    assert b"\r\nLambda-Runtime-Invocation-Id: inv-1\r\n" in asyncio.run(main())[0]


def test_an_error_during_a_stream_is_sent_in_trailers_and_not_in_the_body():
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"data: 1\n\n", more=True)
        raise LookupError("the message that a user wrote")

    (response,) = posts_of(app, GET_HEALTH)
    _, _, ending = response.partition(bytes(8) + b"\r\n")
    report = (
        b'{"errorMessage": "The function failed; see its log.", "errorType": "LookupError", "stackTrace": []}'
    )
    assert ending == (
        b"9\r\ndata: 1\n\n\r\n"
        b"0\r\n"
        b"Lambda-Runtime-Function-Error-Type: Function.Unhandled\r\n"
        b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(report) + b"\r\n"
        b"\r\n"
    )


def test_an_error_after_the_whole_response_does_not_change_it():
    async def app(scope, receive, send):
        await ok(scope, receive, send)
        raise LookupError

    first, second = posts_of(app, GET_HEALTH, GET_HEALTH, count=2)
    assert first.endswith(b"4\r\nfine\r\n0\r\n\r\n")
    assert b"/invocation/req-2/response" in second


@pytest.mark.parametrize("started", [False, True])
def test_an_app_that_returns_before_its_response_is_complete_fails(started):
    async def app(scope, receive, send):
        if started:
            await start(send)

    (report,) = posts_of(app, GET_HEALTH)
    assert b"Lambda-Runtime-Function-Error-Type: Function.IncompleteResponse" in report
    assert (b"/response HTTP" in report) is started


def test_an_app_that_cancels_itself_does_not_end_the_runtime():
    async def app(scope, receive, send):
        raise asyncio.CancelledError

    first, second = posts_of(app, GET_HEALTH, GET_HEALTH, count=2)
    assert b'"errorType": "CancelledError"' in first
    assert b"/invocation/req-2/error" in second


def test_a_second_response_start_fails_the_app():
    async def app(scope, receive, send):
        await start(send)
        await start(send)

    (report,) = posts_of(app, GET_HEALTH)
    assert b"Function.Unhandled" in report


def test_headers_longer_than_16_kb_fail_the_invocation():
    async def app(scope, receive, send):
        await start(send, 200, (b"x", b"y" * 20_000))

    (report,) = posts_of(app, GET_HEALTH)
    assert b'"errorType": "ValueError"' in report


@pytest.mark.parametrize("event", [b"{}", b"null", b'"text"', b'{"Records":[]}', b"no json", b"[" * 100_000])
def test_an_event_that_is_not_an_http_request_is_refused_and_the_next_is_served(event):
    refusal, response = posts_of(ok, event, GET_HEALTH, count=2)
    assert refusal.startswith(b"POST /2018-06-01/runtime/invocation/req-1/error HTTP/1.1\r\n")
    assert b"Lambda-Runtime-Function-Error-Type: Function.UnsupportedEvent\r\n" in refusal
    assert b'"errorType": "UnsupportedEvent"' in refusal
    assert b"/invocation/req-2/response" in response


# The request of the app


def test_the_scope_has_the_event_the_context_and_a_copy_of_the_state():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        scope["state"]["mine"] = True
        await ok(scope, receive, send)

    async def main():
        given = [invocation(GET_HEALTH, "req-1"), invocation(GET_HEALTH, "req-2")]
        async with scripted_api(*given) as api, serving(app, api, {"pool": "a pool"}):
            await api.posted(2)

    asyncio.run(main())
    first, second = seen
    assert first["aws.event"] == json.loads(GET_HEALTH)
    context = first["aws.context"]
    assert context.aws_request_id == "req-1"
    assert context.invoked_function_arn == "arn:aws:lambda:eu-central-1:123456789012:function:chat"
    assert context.deadline == 4102444800.5
    assert context.get_remaining_time_in_millis() > 1e12
    assert first["state"] == second["state"] == {"pool": "a pool", "mine": True}
    assert first["state"] is not second["state"]


def test_context_variables_do_not_reach_the_next_invocation():
    user: ContextVar[str] = ContextVar("user", default="none")
    seen = []

    async def app(scope, receive, send):
        seen.append(user.get())
        user.set("a user")
        await ok(scope, receive, send)

    posts_of(app, GET_HEALTH, GET_HEALTH, count=2)
    assert seen == ["none", "none"]


def test_the_app_receives_the_body_and_after_the_response_the_disconnect():
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        waiting = asyncio.create_task(receive())
        await start(send)
        await body(send, b"1", more=True)
        await asyncio.sleep(0.05)
        seen.append(waiting.done())
        await body(send)
        seen.append(await waiting)

    event = json.loads(GET_HEALTH) | {"body": "hello"}
    posts_of(app, json.dumps(event).encode())
    assert seen == [
        {"type": "http.request", "body": b"hello", "more_body": False},
        False,
        {"type": "http.disconnect"},
    ]


def test_each_invocation_sets_its_own_trace_id():
    seen = []

    async def app(scope, receive, send):
        seen.append(os.environ.get("_X_AMZN_TRACE_ID"))
        await ok(scope, receive, send)

    async def main():
        trace = "Lambda-Runtime-Trace-Id: Root=1-5f2330a4-6a0de1cd0e17c0508d386a64"
        given = [invocation(GET_HEALTH, "req-1", trace), invocation(GET_HEALTH, "req-2")]
        async with scripted_api(*given) as api, serving(app, api):
            await api.posted(2)

    asyncio.run(main())
    assert seen == ["Root=1-5f2330a4-6a0de1cd0e17c0508d386a64", None]


# Start, snapshots, shutdown


def init_report_of(target):
    async def main():
        async with scripted_api() as api:
            status = await run(target, RuntimeApi(api.address))
        return status, api.posts

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "reason", "error"),
    [
        ("tests.shared.no_such_module:app", "Runtime.ImportModuleError", "ModuleNotFoundError"),
        ("tests.shared.lambda_runtime.toy_functions:missing", "Runtime.HandlerNotFound", "HandlerNotFound"),
        ("app", "Runtime.HandlerNotFound", "HandlerNotFound"),
        ("tests.shared.lambda_runtime.toy_functions:without_settings", "Runtime.InitError", "ConfigError"),
        ("tests.shared.lambda_runtime.toy_functions:reporting_only", "Runtime.InitError", "LifespanFailed"),
    ],
)
def test_a_failed_init_is_reported_and_ends_the_process(target, reason, error):
    status, (report,) = init_report_of(target)
    assert status == 1
    assert report.startswith(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n")
    assert f"Lambda-Runtime-Function-Error-Type: {reason}\r\n".encode() in report
    assert json.loads(report.partition(b"\r\n\r\n")[2]) == {
        "errorMessage": "The function failed to initialise; see its log.",
        "errorType": error,
        "stackTrace": [],
    }


@asynccontextmanager
async def process_of(target, api, **env):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-u", "-m", "shared.lambda_runtime", target),
        cwd=ROOT,
        env={"AWS_LAMBDA_RUNTIME_API": api.address, **env},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def terminated(target):
    """The output and the exit status of a process that gets SIGTERM while it waits for an invocation."""

    async def main():
        async with scripted_api() as api, process_of(target, api) as process:
            await api.requested(1)
            process.terminate()
            output, _ = await asyncio.wait_for(process.communicate(), 20)
            return output, process.returncode

    return asyncio.run(main())


def test_sigterm_shuts_the_app_down_and_exits_with_0():
    assert terminated("tests.shared.lambda_runtime.toy_functions:app") == (b"startup\nshutdown\n", 0)


def test_sigterm_does_not_wait_for_a_shutdown_that_hangs():
    assert terminated("tests.shared.lambda_runtime.toy_functions:hanging_in_shutdown") == (b"", 0)


def test_sigterm_cancels_a_running_request_before_the_app_shuts_down():
    async def main():
        async with (
            scripted_api(invocation(GET_HEALTH)) as api,
            process_of("tests.shared.lambda_runtime.toy_functions:hanging_in_request", api) as process,
        ):
            assert process.stdout
            assert await process.stdout.readuntil(b"hanging\n") == b"startup\nhanging\n"
            process.terminate()
            output, _ = await asyncio.wait_for(process.communicate(), 20)
            return output, process.returncode

    assert asyncio.run(main()) == (b"cancelled\nshutdown\n", 0)


def test_a_target_may_be_a_lambda_handler_with_slashes():
    async def main():
        async with (
            scripted_api(invocation(GET_HEALTH)) as api,
            process_of("tests/shared/lambda_runtime/toy_functions.app", api),
        ):
            return await api.posted(1)

    assert b"healthy" in asyncio.run(main())[0]


SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


def test_the_app_is_shut_down_before_the_snapshot_and_started_after_it():
    async def main():
        async with (
            scripted_api(EMPTY, invocation(GET_HEALTH)) as api,
            process_of("tests.shared.lambda_runtime.toy_functions:app", api, **SNAP_START) as process,
        ):
            requests = list(await api.requested(4))
            process.terminate()
            output, _ = await process.communicate()
            return requests, output.decode().splitlines()

    requests, output = asyncio.run(main())
    assert requests == [
        "GET /restore/next",
        "GET /invocation/next",
        "POST /invocation/req-1/response",
        "GET /invocation/next",
    ]
    assert output == ["startup", "shutdown", "startup", "shutdown"]


def test_random_numbers_are_seeded_again_after_the_snapshot():
    async def main():
        async with (
            scripted_api(EMPTY, invocation(GET_HEALTH)) as api,
            process_of("tests.shared.lambda_runtime.toy_functions:random_number", api, **SNAP_START),
        ):
            return await api.posted(1)

    (response,) = asyncio.run(main())
    assert b"\r\n0." in response
    assert str(random.Random(toy_functions.SEED).random()).encode() not in response


def test_a_start_that_fails_after_the_snapshot_is_reported_and_ends_the_process():
    async def main():
        async with (
            scripted_api(EMPTY) as api,
            process_of(
                "tests.shared.lambda_runtime.toy_functions:starting_once", api, **SNAP_START
            ) as process,
        ):
            status = await asyncio.wait_for(process.wait(), 20)
            return status, api

    status, api = asyncio.run(main())
    assert status == 1
    assert api.requests == ["GET /restore/next", "POST /restore/error"]
    assert b"Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n" in api.posts[0]
    assert b'"errorType": "LookupError"' in api.posts[0]
