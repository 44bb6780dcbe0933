"""Invokes one function with one event, like `sam local invoke`, but with streaming.

Prints to stdout: the status and the headers of the response, then the parts of its body as they arrive. The
output of the function goes to stderr.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dev import local
from dev.lambda_emulator import Emulator, Failure, Function
from dev.lambda_payload import MalformedPayload, PayloadReader, ResponseHead
from shared import auth

# The sample events must stay valid: 2100-01-01 in seconds since the epoch.
_SAMPLE_TOKEN_EXPIRES = 4_102_444_800


def read_event(path: str) -> Any:
    """The event in the file `path`, with a valid token for this checkout in place of the sample token.
    Raises OSError, and ValueError if the file is not JSON."""
    text = Path(path).read_text("utf-8")
    return json.loads(text.replace(sample_token(), local.token(local.LOCAL_USER)))


def sample_token() -> str:
    """The token in the sample events. It is signed with the secret of events/env.json, which `sam local`
    uses. The secret of a checkout is another one."""
    overrides = json.loads((local.ROOT / "events/env.json").read_text("utf-8"))
    secret = overrides["Parameters"]["JWT_SECRET"]
    return auth.sign(local.LOCAL_USER, secret=secret, now=0, lifetime=_SAMPLE_TOKEN_EXPIRES)


def invoke(function: Function, event: Any, *, output: BinaryIO | None = None) -> int:
    """Prints the response to `event`, a JSON value. Returns the exit code: 1 if the function fails."""
    printer = _Printer(output or sys.stdout.buffer)

    async def once() -> None:
        async with Emulator([function]) as emulator:
            await emulator.stream(function.name, event, printer)

    asyncio.run(once())
    return printer.exit_code


class _Printer:
    """A sink that prints an HTTP response. Prints any other payload unchanged."""

    def __init__(self, output: BinaryIO) -> None:
        self.exit_code = 0
        self._output = output
        self._payload = PayloadReader(streaming=False)
        self._unprinted = b""

    async def start(self, *, streaming: bool) -> None:
        self._payload = PayloadReader(streaming=streaming)

    async def write(self, data: bytes) -> None:
        self._unprinted += data
        self._print(self._payload.feed(data))

    async def finish(self, failure: Failure | None) -> None:
        if failure is None:
            self._print(self._payload.close())
            return
        print(f"{failure.reason} {failure.body.decode(errors='replace')}".rstrip(), file=sys.stderr)
        self.exit_code = 1

    def _print(self, pieces: Iterator[ResponseHead | bytes]) -> None:
        try:
            for piece in pieces:
                self._unprinted = b""
                self._output.write(_text(piece) if isinstance(piece, ResponseHead) else piece)
        except MalformedPayload:
            self._output.write(self._unprinted)
        self._output.flush()


def _text(head: ResponseHead) -> bytes:
    lines = [str(head.status), *(f"{name}: {value}" for name, value in head.headers)]
    return "\n".join([*lines, "", ""]).encode()
