"""Bundles for this machine, and functions that run from them with only Lambda's own packages on the path."""

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dev.functions import functions
from dev.lambda_emulator import Emulator
from dev.lambda_process import Function
from infra import build, interpreters
from tests import imported

# The top-level modules of AWS's runtime client, which calls handlers.
LAMBDA_LOOP = {"awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"}
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}

# The deployed version of Python, or the version that runs the tests where this machine has no other.
RUNNING = build.VERSION if interpreters.find(build.VERSION) else sys.version_info[:2]

# Messages of uv when it cannot reach a registry and has no copy of the package.
_OFFLINE = ("error sending request", "dns error", "Failed to fetch", "network was disabled")


@contextmanager
def downloading() -> Iterator[None]:
    """Skips the test where packages cannot be downloaded."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        if any(said in error.stderr for said in _OFFLINE):
            pytest.skip("packages cannot be downloaded here")
        raise AssertionError(error.stderr) from error


def make(*arguments: str) -> None:
    """Runs a command of the Makefile. Skips the test where packages cannot be downloaded."""
    with downloading():
        subprocess.run(["make", *arguments], cwd=build.ROOT, check=True, capture_output=True, text=True)


class LambdaImage:
    """The parts of Lambda beside a function: an interpreter, AWS's runtime client and boto3."""

    def __init__(self, folder: Path, version: interpreters.Version) -> None:
        self.folder = folder
        self.runtime = folder / "runtime"
        self.architecture = ARCHITECTURES[platform.machine()]
        self.version = version
        found = interpreters.find(self.version)
        assert found
        # An environment without the packages that are installed for the interpreter.
        subprocess.run(
            [build.BIN / "uv", "venv", "--quiet", "--python", found, folder / "python"], check=True
        )
        self.python = str(folder / "python/bin/python")
        self.standard_library = Path(found).resolve().parents[1]
        with downloading():
            lock = build.ROOT / "requirements/runtime.txt"
            build.install(self.runtime, [lock], architecture=self.architecture, version=self.version)

    def bundle(self, name: str) -> Path:
        """The folder of a bundle. Builds the bundle on the first call."""
        folder = self.folder / name
        if not folder.exists():
            with downloading():
                build.build(name, folder, architecture=self.architecture, version=self.version)
        return folder

    def chat_stream(self, env: Mapping[str, str]) -> Function:
        """The chat function, started by the bootstrap that AWS_LAMBDA_EXEC_WRAPPER names."""
        root = self.bundle("chat_stream")
        deployed, _ = functions({**env, "LAMBDA_RUNTIME_DIR": str(self.runtime)})
        command = [str(root / "functions/chat_stream/bootstrap"), self.python]
        return replace(deployed, root=root, command=command)

    def conversations(self, env: Mapping[str, str]) -> Function:
        _, deployed = functions(env)
        return self._by_handler(deployed, "conversations")

    def migrate(self, env: Mapping[str, str]) -> Function:
        deployed = Function(name="migrate", command=[], handler="functions.migrate.app.handler", env=env)
        return self._by_handler(deployed, "migrate")

    def _by_handler(self, deployed: Function, name: str) -> Function:
        """A function that AWS's runtime client starts: in its folder, with the runtime last on the path."""
        env = {**deployed.env, "PYTHONPATH": str(self.runtime)}
        command = [self.python, "-u", "-m", "awslambdaric", deployed.handler]
        return replace(deployed, root=self.bundle(name), command=command, env=env)


class ImportRecorder:
    """An emulator that records the imports of its functions."""

    def __init__(self, *functions: Function) -> None:
        self._lines: list[str] = []
        self.emulator = Emulator(
            [replace(function, env={**function.env, **imported.VERBOSE}) for function in functions],
            log=lambda _, line: self._lines.append(line),
        )

    @property
    def imported(self) -> set[str]:
        """The modules that were imported until now."""
        return imported.modules(self._lines)

    def packages(self, image: LambdaImage, bundle: str) -> tuple[set[str], set[str]]:
        """The packages that were imported from the bundle, and those from the runtime's folder. All other
        imports must be from the standard library."""
        own, runtime = set(), set()
        for file in imported.files(self._lines):
            if file.is_relative_to(image.bundle(bundle)):
                own.add(_package(file.relative_to(image.bundle(bundle))))
                assert file.suffix in {".pyc", ".so"}, f"{file} had to be compiled"
            elif file.is_relative_to(image.runtime):
                runtime.add(_package(file.relative_to(image.runtime)))
            else:
                assert file.is_relative_to(image.standard_library), file
                assert "site-packages" not in file.parts, file
        return own, runtime


def _package(file: Path) -> str:
    return (file.name if file.parts[0] == "__pycache__" else file.parts[0]).partition(".")[0]
