"""The tests of a group run in one worker of pytest-xdist."""

import os
import subprocess
import sys

from dev.local import ROOT
from tests.distribution import FIRST, GROUPS

CONFTEST = """
from tests import distribution

distribution.GROUPS = {"test_one.py": "group", "test_two.py": "group"}


def pytest_xdist_make_scheduler(config, log):
    return distribution.Distribution(config, log)
"""
TESTS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(5))
def test_its_worker(number):
    with pathlib.Path("workers").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_one_worker_runs_the_files_of_a_group(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST, "utf-8")
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(TESTS, "utf-8")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadscope", "--rootdir", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    workers = (tmp_path / "workers").read_text("utf-8").split()
    assert len(workers) == 10
    assert len(set(workers)) == 1


def test_the_files_that_the_order_names_exist():
    assert [file for file in (*GROUPS, *FIRST) if not (ROOT / file).is_file()] == []
