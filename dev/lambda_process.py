"""One process of a function. As on Lambda, it is frozen between invocations and killed at its timeout.

`dev.lambda_pool` chooses the process for an invocation.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dev.http1 import listening
from dev.runtime_api import Failure, Invocation, RuntimeApi, Sink, trace_id

# Seconds. Lambda has the same limits: 10 for an init, 0.5 for a shutdown with an extension.
_INIT_TIMEOUT = 10
_SHUTDOWN_TIMEOUT = 0.5

_LONGEST_LINE = 1024 * 1024

REGION = "eu-central-1"
ACCOUNT = "123456789012"
EventFormat = Literal["url", "rest"]
Log = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class Function:
    """The configuration of a function and its HTTP routes.

    `command` starts a process in the folder `root`. `env` is added to Lambda's variables, PATH and HOME.
    `routes` are paths in the form of API Gateway's resources: `/health`, `/items/{id}`, and `/{proxy+}` for
    all paths below. `event_format` is that of a function URL or of a REST API. `timeout` is in seconds.
    `memory_size` is in MB; the function can read it, but it is not enforced.
    """

    name: str
    command: Sequence[str]
    handler: str
    env: Mapping[str, str] = field(default_factory=dict)
    root: Path = field(default_factory=Path.cwd)
    routes: Sequence[str] = ("/", "/{proxy+}")
    event_format: EventFormat = "url"
    timeout: float = 30
    memory_size: int = 512
    max_concurrency: int = 10
    snap_start: bool = False

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


class InitFailed(Exception):
    """The process failed before it requested its first invocation."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class FunctionProcess:
    """A process that serves one invocation at a time. Create it with `start`."""

    def __init__(
        self,
        function: Function,
        process: asyncio.subprocess.Process,
        api: RuntimeApi,
        log: Log,
        resources: contextlib.AsyncExitStack,
    ) -> None:
        self.pid = process.pid
        self._function = function
        self._process = process
        self._api = api
        self._log = log
        self._resources = resources
        self._exited = asyncio.create_task(process.wait())
        self._logging = asyncio.create_task(self._forward_output())
        self._invocation: Invocation | None = None

    @classmethod
    async def start(cls, function: Function, log: Log) -> "FunctionProcess":
        """Starts a process, waits for its init and freezes it. Raises InitFailed."""
        async with contextlib.AsyncExitStack() as resources:
            api = RuntimeApi()
            port = await resources.enter_async_context(listening(api.serve))
            process = await asyncio.create_subprocess_exec(
                *function.command,
                cwd=function.root,
                env=_environment(function, port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=_LONGEST_LINE,
                # A separate process group, so that Ctrl-C reaches only the emulator. When the emulator is
                # killed, the kernel sends SIGHUP to the stopped processes of the orphaned group, which ends
                # them.
                process_group=0,
            )
            started = cls(function, process, api, log, resources.pop_all())
        try:
            await started._init()
        except BaseException:
            await started.stop()
            raise
        return started

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def finishing(self) -> bool:
        """Whether the response has ended, but the process has not requested the next invocation yet."""
        return self._invocation is not None and self._invocation.finished

    async def invoke(self, event: bytes, sink: Sink) -> None:
        """Returns when the process has requested the next invocation after the response, or has ended."""
        deadline = time.time() + self._function.timeout
        sampled = self._function.env.get("TRACING") == "true"
        self._invocation = Invocation(
            event, sink, self._function.arn, deadline, trace_id=trace_id(sampled=sampled)
        )
        self._signal(signal.SIGCONT)
        self._api.send(self._invocation)
        if failure := await self._until_idle(self._function.timeout):
            self._log(self._function.name, f"invocation failed: {failure.reason}")
            await self._invocation.finish(failure)
        self._invocation = None

    async def stop(self) -> None:
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        await asyncio.wait({self._exited}, timeout=_SHUTDOWN_TIMEOUT)
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._exited, self._logging})
        await self._resources.aclose()

    async def _init(self) -> None:
        failure = await self._until_idle(_INIT_TIMEOUT)
        if self._function.snap_start and not failure:
            # The frozen process takes the place of a snapshot.
            self._signal(signal.SIGCONT)
            self._api.restore()
            failure = await self._until_idle(_INIT_TIMEOUT)
        if failure:
            self._log(self._function.name, f"init failed: {failure.reason}")
            raise InitFailed(failure)

    async def _until_idle(self, seconds: float) -> Failure | None:
        """Waits until the process requests an invocation, then freezes it. Otherwise kills it and returns the
        failure."""
        idle = asyncio.create_task(self._api.idle.wait())
        ends: set[asyncio.Future[Any]] = {idle, self._exited, self._api.init_failure}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
        if self._api.idle.is_set() and not self._exited.done():
            self._signal(signal.SIGSTOP)
            return None
        exited = self._exited.done()
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._exited})
        if self._api.init_failure.done():
            return self._api.init_failure.result()
        return Failure("Runtime.ExitError" if exited else "Sandbox.Timedout")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _forward_output(self) -> None:
        assert self._process.stdout
        while not self._process.stdout.at_eof():
            # A line beyond the limit is dropped. CloudWatch truncates such lines.
            with contextlib.suppress(ValueError):
                line = await self._process.stdout.readline()
                if line:
                    self._log(self._function.name, line.decode(errors="replace").rstrip("\n"))


def _environment(function: Function, port: int) -> dict[str, str]:
    """The environment of a process. Source: AWS, "Defined runtime environment variables"."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **inherited,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if function.snap_start else "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_REGION": REGION,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(function.root),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": function.handler,
        **function.env,
    }
