"""Serves the chat function with the Lambda emulator.

The interpreter has only the packages of the function's lock file, like the deployed bundle. Other packages
slow down the start: httpx, for example, imports rich if it is installed.
"""

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
    function = replace(chat_stream, command=[bootstrap, str(PYTHON if PYTHON.exists() else sys.executable)])
    await serve_until_stopped(Emulator([function]), lambda url: print(f"ready {url}", flush=True))


if __name__ == "__main__":
    asyncio.run(serve())
