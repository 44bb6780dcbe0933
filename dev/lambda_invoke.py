"""Invokes one function with one event, as `sam local invoke` does, but streams: the response's status and
headers, then its body as it comes, on stdout. The function's own output goes to stderr."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from dev.lambda_emulator import Emulator, Failure, Function
from dev.lambda_payload import AnswerMeta, MalformedPayload, PayloadReader


def invoke(function: Function, event: Any, *, output: BinaryIO | None = None) -> int:
    """Prints the response to `event`, any JSON value, and gives the exit code: 1 if the function failed."""
    printer = _Printer(output or sys.stdout.buffer)

    async def once() -> None:
        async with Emulator([function]) as emulator:
            await emulator.stream(function.name, event, printer)

    asyncio.run(once())
    return printer.exit_code


class _Printer:
    """A sink. What is no HTTP response, the result of some other handler, is printed as it is."""

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

    def _print(self, pieces: Iterator[AnswerMeta | bytes]) -> None:
        try:
            for piece in pieces:
                self._unprinted = b""
                self._output.write(_text(piece) if isinstance(piece, AnswerMeta) else piece)
        except MalformedPayload:
            self._output.write(self._unprinted)
        self._output.flush()


def _text(head: AnswerMeta) -> bytes:
    lines = [str(head.status), *(f"{name}: {value}" for name, value in head.headers)]
    return "\n".join([*lines, "", ""]).encode()
