"""`python -m dev.mock_llm`: runs the mock in the foreground until Ctrl-C."""

import argparse
import asyncio
import os
import sys

import dev.mock_llm
from dev import command
from dev.mock_llm.server import MockLLM


def main() -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m dev.mock_llm",
        description=dev.mock_llm.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", help="0 takes a free one; the default is the variable PORT, else 8788")
    options = parser.parse_args()
    port = command.port(options.port or os.environ.get("PORT"), 8788)
    command.check_port(port)
    asyncio.run(_serve_until_stopped(options.host, port))
    return 0


async def _serve_until_stopped(host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in command.end_signals():
        loop.add_signal_handler(number, stop.set)
    async with MockLLM(host=host, port=port) as mock:
        settings = mock.settings() | {"LLM_MODEL": "openai/mock:tokens=200,gap=20ms"}
        lines = [f"ready {mock.url}", *(f"{name}={value}" for name, value in settings.items())]
        print("\n".join(lines), flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(command.run(main))
