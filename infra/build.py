"""Builds the bundle of a Lambda function: `python -m infra.build FUNCTION FOLDER`.

The bundle contains only what the function imports and reads: the packages of its lock file for the target
platform, with their hashes checked; the modules of this project that its entry points import; data files; and
bytecode. The same inputs give the same bytes, so that a deployment uploads only bundles that changed.

Environment variables: ARCH is `arm64` or `x86_64`. If BOTO3 is set, the bundle has its own boto3 instead of
the one of the managed runtime.
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
VERSION = (3, 13)  # of Python on Lambda, as `Runtime` in template.yaml
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
# In bytes. Lambda allows 250 MB, but a large bundle makes the cold start slow: each file is fetched and read.
MAX_BUNDLE_BYTES = 40_000_000

# Parts of packages that are left out: sources for compilers, stubs for type checkers, the Python part of cffi
# (cryptography needs only the compiled part), and unused parts of Powertools, such as its copy of Swagger UI.
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
# psycopg reads its version from its metadata. Without metadata it reports version 0.0.0.0.
_WITH_METADATA = ("psycopg-", "psycopg_binary-")
_EPOCH = 315_532_800  # 1980-01-01, the earliest time in a zip file
# Environment variables of uv that change which versions are installed, or whether hashes are checked.
_UV_VARIABLES_REMOVED = frozenset(
    {"UV_BUILD_CONSTRAINT", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_EXCLUDE_NEWER",
     "UV_NO_VERIFY_HASHES", "UV_OVERRIDE", "UV_PRERELEASE", "UV_RESOLUTION"}
)  # fmt: skip


# The modules that Lambda loads, for each function. Their imports are read from the source.
ENTRIES = {
    "chat_stream": ("shared.lambda_runtime.__main__", "functions.chat_stream.app"),
    "conversations": ("functions.conversations.app",),
    "migrate": ("functions.migrate.app",),
}

# The files that each module reads or that Lambda runs.
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
    """Builds the bundle in `folder`, which is emptied first, and returns its size in bytes.

    Raises subprocess.CalledProcessError, with the reason in `stderr`, if a package cannot be downloaded, has
    no wheel for the platform, or has another hash than in the lock file.
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
        for data_path in sorted(ROOT.glob(data)) if data else ():
            _copy(data_path, folder)
        if path == ROOT / OPENAPI_READER:
            openapi.write(folder / OPENAPI_READER.with_name("openapi.json"))
    compile_bytecode(folder, version)
    return _normalize(folder)


def install(
    folder: Path, locks: Sequence[Path], *, architecture: str, version: interpreters.Version = VERSION
) -> None:
    """Unpacks the wheels of the lock files for Lambda's platform, also on machines of another platform.

    Only the lock files decide what is installed. uv's configuration and some environment variables could
    change a version and skip its hash, so that the bundle would depend on the packages that are published on
    the day of the build. `--no-config` ignores the configuration.
    """
    requirements = [argument for lock in locks for argument in ("--requirements", str(lock))]
    environ = {name: value for name, value in os.environ.items() if name not in _UV_VARIABLES_REMOVED}
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
    """Writes bytecode that Python uses without comparing it to the sources, because a zip changes the times
    of the sources."""
    python = interpreters.find(version)
    if python is None:
        name = interpreters.name(version)
        print(
            f"warning: Python {name} is not installed, so the bundle has no bytecode and each cold start"
            f" compiles its imports. `{BIN}/uv python install {name}` installs it.",
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
    # uv leaves this file behind.
    (folder / ".lock").unlink(missing_ok=True)


def _copy(path: Path, folder: Path) -> None:
    target = folder / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def _normalize(folder: Path) -> int:
    """Sets the same time and the same permissions for all files. Returns the total size in bytes."""
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
    options = parser.parse_args(arguments)
    architecture = os.environ.get("ARCH") or "arm64"
    if architecture not in PLATFORMS:
        print(f"ARCH must be one of {', '.join(PLATFORMS)}.", file=sys.stderr)
        return 2
    with_boto3 = bool(os.environ.get("BOTO3"))
    try:
        size = build(options.function, options.folder, architecture=architecture, with_boto3=with_boto3)
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    print(f"{options.function}: {size / 1e6:.1f} MB for {architecture}")
    if size > MAX_BUNDLE_BYTES and not with_boto3:
        print(f"{options.function} is over {MAX_BUNDLE_BYTES / 1e6:.0f} MB.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
