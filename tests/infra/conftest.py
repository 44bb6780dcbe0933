"""The bundles, and the parts of Lambda beside them. Each is made once in a worker."""

import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.interpreters import name
from tests.infra.bundles import ARCHITECTURES, RUNNING, LambdaImage, make


@pytest.fixture(scope="session", params=[RUNNING], ids=[f"python{name(RUNNING)}"])
def image(request: pytest.FixtureRequest) -> Iterator[LambdaImage]:
    if platform.system() != "Linux" or platform.machine() not in ARCHITECTURES:
        pytest.skip("the bundles are for Linux on arm64 or x86_64")
    with tempfile.TemporaryDirectory() as folder:
        yield LambdaImage(Path(folder), request.param)


@pytest.fixture(scope="session")
def deployed() -> Iterator[Path]:
    """The output of `make build` for arm64: a folder for each function."""
    with tempfile.TemporaryDirectory() as folder:
        # sam writes a file beside this folder. In the folder for temporary files, that file might be another
        # user's.
        built = Path(folder) / "build"
        make("build", "ARCH=arm64", f"BUILD_DIR={built}")
        yield built
