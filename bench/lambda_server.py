"""Serves the chat function behind the emulator. The interpreter has only the packages of the function's lock
file, as the bundle has. With more packages the function starts more slowly: httpx imports rich where it is
installed."""

import asyncio
import os
import sys
from dataclasses import replace

from dev.functions import functions, settings_of
from dev.lambda_emulator import Emulator
from dev.lambda_server import serve_until_stopped
from dev.local import ROOT

PYTHON = ROOT / ".venv-chat_stream/bin/python"


async def serve() -> None:
    chat_stream, _ = functions(settings_of(os.environ))
    bootstrap, _ = chat_stream.command
    alone = replace(chat_stream, command=[bootstrap, str(PYTHON if PYTHON.exists() else sys.executable)])
    await serve_until_stopped(Emulator([alone]), lambda url: print(f"ready {url}", flush=True))


if __name__ == "__main__":
    asyncio.run(serve())
