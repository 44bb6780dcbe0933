"""`make lambda` serves both functions behind the emulator, with an embedded Postgres. `make invoke` invokes
one function with the event of a file."""

import asyncio
import os
import sys
from collections.abc import Callable

from dev import command, lambda_invoke, local
from dev.functions import functions, settings_of
from dev.lambda_emulator import Emulator
from dev.page import Page
from dev.server import announce
from shared.environment import ConfigError


async def serve(port: int) -> None:
    env = settings_of(local.environment(f"http://127.0.0.1:{port}"))
    await serve_until_stopped(Emulator(functions(env), port=port, page=Page()), announce)


async def serve_until_stopped(emulator: Emulator, on_start: Callable[[str], None]) -> None:
    """Runs an emulator until SIGINT, SIGTERM or SIGHUP. Calls `on_start` with its URL."""
    stopped = asyncio.Event()
    for number in command.end_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with emulator:
        on_start(emulator.url)
        await stopped.wait()


def invoke(name: str, path: str) -> int:
    """Invokes the function `name` with the event in the file `path`. Returns the exit code."""
    env = settings_of(local.environment("http://127.0.0.1:8787"))
    named = {function.name: function for function in functions(env)}
    if name not in named:
        print(f"FUNCTION must be one of {', '.join(named)}.", file=sys.stderr)
        return 2
    try:
        event = lambda_invoke.read_event(path)
    except (OSError, ValueError):
        print(
            "EVENT must name a file with JSON in it, for instance events/health_rest.json.", file=sys.stderr
        )
        return 2
    return lambda_invoke.invoke(named[name], event)


def main() -> int:
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["invoke"] and len(arguments) == 3:
            return invoke(*arguments[1:])
        port = command.port(os.environ.get("PORT"), 8787)
        command.check_port(port)
        asyncio.run(serve(port))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
