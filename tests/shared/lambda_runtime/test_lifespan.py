import asyncio

import pytest

from shared.lambda_runtime.lifespan import Lifespan, LifespanFailed


def lifespan_of(app):
    """Starts the app, shuts it down and returns the state."""

    async def main():
        lifespan = Lifespan(app)
        await lifespan.startup()
        await lifespan.shutdown()
        return lifespan.state

    return asyncio.run(main())


def test_startup_and_shutdown_happen_in_one_task():
    tasks = []

    async def app(scope, receive, send):
        assert await receive() == {"type": "lifespan.startup"}
        tasks.append(asyncio.current_task())
        scope["state"]["pool"] = "a pool"
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        tasks.append(asyncio.current_task())
        await send({"type": "lifespan.shutdown.complete"})

    assert lifespan_of(app) == {"pool": "a pool"}
    assert tasks[0] is tasks[1]


def test_an_app_without_a_lifespan_starts():
    async def raising(scope, receive, send):
        raise AssertionError(scope["type"])

    async def returning(scope, receive, send):
        return

    assert lifespan_of(raising) == {}
    assert lifespan_of(returning) == {}


def test_the_exception_after_a_reported_failure_is_raised():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "a traceback"})
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        lifespan_of(app)


def test_a_reported_failure_without_an_exception_raises_lifespan_failed():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LifespanFailed, match="no database"):
        lifespan_of(app)


def test_a_failure_to_shut_down_is_logged_and_not_raised(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise LookupError

    lifespan_of(app)
    assert "the app failed to shut down" in caplog.messages
