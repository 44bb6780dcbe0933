"""`python -m dev.mock_llm`: runs the mock in the foreground until Ctrl-C."""

import argparse
import asyncio
import signal

import dev.mock_llm
from dev.mock_llm.server import MockLLM


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dev.mock_llm",
        description=dev.mock_llm.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8788, help="0: any free port")
    options = parser.parse_args()
    asyncio.run(_serve_until_stopped(options.host, options.port))


async def _serve_until_stopped(host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with MockLLM(host=host, port=port) as mock:
        settings = mock.settings() | {"LLM_MODEL": "openai/mock:tokens=200,gap=20ms"}
        lines = [f"ready {mock.url}", *(f"{name}={value}" for name, value in settings.items())]
        print("\n".join(lines), flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
