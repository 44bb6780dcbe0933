"""Makes the folder that a function is on Lambda: `python -m infra.build FUNCTION FOLDER`.

In it is what the function imports and reads, and nothing else: its packages for the target platform
from its lock file, hashes checked; the project's modules that can be reached from its entry points; its
data; and bytecode. The same inputs give the same bytes, so that a deployment sends what has changed.

From the environment: ARCH (`arm64` or `x86_64`), and BOTO3, set, for a copy of boto3 of one's own in
place of the managed runtime's.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev import openapi
from infra import interpreters
from infra.imports import reachable

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
VERSION = (3, 13)  # of Python on Lambda: the template's Runtime
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
# What a function and its layers may have on Lambda is 250 MB. Long before that, it is the cold start
# that pays: for every file that is fetched and read.
LARGEST = 40_000_000

# Left out of packages. Sources and stubs are for compilers and type checkers; of cffi, cryptography
# needs the compiled half alone; and Powertools is a box of tools, with a copy of Swagger UI.
_UNUSED_TOOLS = (
    "auth_alpha", "batch", "circuit_breaker", "data_classes", "data_masking", "feature_flags",
    "idempotency", "kafka", "parser", "streaming", "validation",
)  # fmt: skip
_UNUSED = (
    "bin",
    "**/tests",
    "**/*.c",
    "**/*.h",
    "**/*.pxd",
    "**/*.pyi",
    "**/*.pyx",
    "**/py.typed",
    "aws_lambda_powertools/event_handler",
    *(f"aws_lambda_powertools/utilities/{tool}" for tool in _UNUSED_TOOLS),
    "cffi",
    "pycparser",
)
# psycopg asks for its own version, and takes itself for 0.0.0.0 where it finds none.
_WITH_METADATA = ("psycopg-", "psycopg_binary-")
_EPOCH = 315_532_800  # 1980-01-01, where the times of a zip begin
# Environment variables of uv that change which versions are installed, or whether hashes are checked.
_UV_CHANGES_VERSIONS = frozenset(
    {"UV_BUILD_CONSTRAINT", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_EXCLUDE_NEWER",
     "UV_NO_VERIFY_HASHES", "UV_OVERRIDE", "UV_PRERELEASE", "UV_RESOLUTION"}
)  # fmt: skip


# The modules that Lambda loads, for each function. What they import, the source says.
ENTRIES = {
    "chat_stream": ("shared.lambda_runtime.__main__", "functions.chat_stream.app"),
    "conversations": ("functions.conversations.app",),
    "migrate": ("functions.migrate.app",),
}

# The files that modules read, and that Lambda runs.
DATA = {
    "functions/chat_stream/app.py": "functions/chat_stream/bootstrap",
    "functions/chat_stream/prompt/system_prompt.py": "functions/chat_stream/prompt/system_prompt.md",
    "migrations/files.py": "migrations/**/*.sql",
    "shared/costs.py": "shared/models.json",
    "shared/db_credentials.py": "shared/rds_ca/*.pem",
}


# The module that serves the OpenAPI document, which the build writes beside it.
OPENAPI_READER = Path("functions/conversations/openapi_routes.py")


def build(
    name: str,
    folder: Path,
    *,
    architecture: str,
    version: interpreters.Version = VERSION,
    with_boto3: bool = False,
) -> int:
    """Makes the bundle in `folder`, which is emptied first, and returns its size in bytes.

    Raises subprocess.CalledProcessError, the reason in its `stderr`, where a package cannot be had, has
    no wheel for the platform, or not the hash that the lock file names.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    locks = [name, *(["boto3"] if with_boto3 else [])]
    paths = [ROOT / f"requirements/{lock}.txt" for lock in locks]
    install(folder, paths, architecture=architecture, version=version)
    _prune(folder)
    for path in reachable(ROOT, ENTRIES[name]):
        _copy(path, folder)
        data = DATA.get(path.relative_to(ROOT).as_posix())
        for read in sorted(ROOT.glob(data)) if data else ():
            _copy(read, folder)
        if path == ROOT / OPENAPI_READER:
            openapi.write(folder / OPENAPI_READER.with_name("openapi.json"))
    compile_bytecode(folder, version)
    return _settle(folder)


def install(
    folder: Path, locks: Sequence[Path], *, architecture: str, version: interpreters.Version = VERSION
) -> None:
    """Unpacks the wheels that the lock files name, for Lambda's platform, whatever this machine is.

    The lock files alone say what is installed: uv's configuration (`--no-config`) and its environment
    variables could change a version and drop its hash, and so the bytes of a bundle would depend on what
    is published on the day of the build.
    """
    requirements = [argument for lock in locks for argument in ("--requirements", str(lock))]
    environ = {name: value for name, value in os.environ.items() if name not in _UV_CHANGES_VERSIONS}
    subprocess.run(
        [
            str(BIN / "uv"), "pip", "install", "--no-config", "--quiet",
            "--python", sys.executable, "--target", str(folder), "--link-mode", "copy", "--no-deps",
            "--python-version", interpreters.name(version), "--python-platform", PLATFORMS[architecture],
            "--only-binary", ":all:", "--require-hashes", *requirements,
        ],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )  # fmt: skip


def compile_bytecode(folder: Path, version: interpreters.Version) -> None:
    """Writes bytecode that is taken without a look at the sources, whose times a zip changes."""
    python = interpreters.find(version)
    if python is None:
        wanted = interpreters.name(version)
        print(
            f"warning: there is no Python {wanted} here, and so no bytecode in the bundle: each cold start"
            f" will compile what it imports. `{BIN}/uv python install {wanted}` gets one.",
            file=sys.stderr,
        )
        return
    subprocess.run(
        [python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
         "-s", str(folder), "-p", "/var/task", str(folder)],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _prune(folder: Path) -> None:
    unused = [path for pattern in _UNUSED for path in folder.glob(pattern)]
    for info in folder.glob("*.dist-info"):
        if info.name.startswith(_WITH_METADATA):
            unused += [path for path in info.iterdir() if path.name != "METADATA"]
        else:
            unused.append(info)
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # uv's marks of an installation.
    (folder / ".lock").unlink(missing_ok=True)


def _copy(path: Path, folder: Path) -> None:
    target = folder / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def _settle(folder: Path) -> int:
    """Gives everything one time and plain permissions. Returns the size in bytes."""
    size = 0
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        executable = path.is_dir() or path.name == "bootstrap"
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (_EPOCH, _EPOCH))
        size += path.stat().st_size if path.is_file() else 0
    return size


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("function", choices=ENTRIES)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args(arguments)
    architecture = os.environ.get("ARCH") or "arm64"
    if architecture not in PLATFORMS:
        print(f"ARCH must be one of {', '.join(PLATFORMS)}.", file=sys.stderr)
        return 2
    with_boto3 = bool(os.environ.get("BOTO3"))
    try:
        size = build(asked.function, asked.folder, architecture=architecture, with_boto3=with_boto3)
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    print(f"{asked.function}: {size / 1e6:.1f} MB for {architecture}")
    if size > LARGEST and not with_boto3:
        print(f"{asked.function} is over {LARGEST / 1e6:.0f} MB.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
