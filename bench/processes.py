"""Starts the measured processes and reads their CPU time and memory from /proc."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from msgspec import Struct

from dev.local import ROOT

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 180
_STOP_SECONDS = 15


class NotStarted(Exception):
    """A server did not start. The message is the end of its log."""


class Server(Struct, frozen=True):
    """A server on 127.0.0.1. `pid` is the process to measure."""

    pid: int
    port: int


class Usage(Struct, frozen=True):
    """The resources of a process. `resident` is its memory in MiB, `peak` the maximum since its start."""

    resident: float
    peak: float
    descriptors: int


def cpu_seconds(pid: int) -> float:
    """CPU time of a process since its start, in user and system mode."""
    after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_SECOND


def usage(pid: int) -> Usage:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)
           if name in {"VmRSS", "VmHWM"}}  # fmt: skip
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    return Usage(kib["VmRSS"] / 1024, kib["VmHWM"] / 1024, descriptors)


def children(pid: int) -> list[tuple[int, str]]:
    """The running child processes of a process: process ids and command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = folder.joinpath("stat").read_text("utf-8").rpartition(")")[2].split()[1]
                command = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # the process has ended
            if int(parent) == pid and command:
                found.append((int(folder.name), command))
    return found


@contextmanager
def run_server(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    interpreter: Path = Path(sys.executable),
    port: int | None = None,
) -> Iterator[Server]:
    """Runs a server until the block ends. Raises NotStarted.

    The server has started when it prints `ready http://127.0.0.1:PORT` as its first line, or, if `port` is
    given, when this port is open.
    """
    # The log goes to a file: a full pipe would stop the server.
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            [str(interpreter), *arguments],
            cwd=ROOT,
            env={**os.environ, **environ, "PORT": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield Server(process.pid, _wait_for_port(process, output, port))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_port(process: "subprocess.Popen[bytes]", output: TextIO, port: int | None) -> int:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if port and _is_open(port):
            return port
        output.seek(0)
        ready = output.readline()
        if not port and ready.startswith("ready ") and ready.endswith("\n"):
            return urlsplit(ready.split()[1]).port or 0
        time.sleep(0.005)
    output.seek(0)
    raise NotStarted(f"{process.args!r}: {output.read()[-2000:]}")


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
