"""The folders that are deployed: what is in them, and that they are enough to serve from."""

import os
import tempfile
from pathlib import Path

import pytest

from infra import build, interpreters
from tests.infra.bundles import downloading

ARM_IN_ELF = 183  # e_machine, by the ELF supplement for AArch64


@pytest.fixture(scope="module", params=build.ENTRIES)
def bundle(request):
    """One as deployed by default: for arm64, whatever this machine is."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / request.param
        with downloading():
            build.build(request.param, folder, architecture="arm64")
        yield folder


def test_a_bundle_has_bytecode_for_every_module_and_machine_code_for_its_platform(bundle):
    if not interpreters.find(build.VERSION):
        pytest.skip(f"there is no Python {interpreters.name(build.VERSION)} here")
    for path in bundle.rglob("*.py"):
        tag = "cpython-{}{}".format(*build.VERSION)
        bytecode = (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").read_bytes()
        # PEP 552: a hash in place of the source's time, and nobody to compare it.
        assert bytecode[4:8] == b"\1\0\0\0", path
    machines = {path: path.read_bytes()[18] for path in bundle.rglob("*.so*")}
    assert set(machines.values()) == {ARM_IN_ELF}


def test_a_bundle_has_nothing_that_is_not_run(bundle):
    names = {path.name for path in bundle.iterdir()}
    assert not names & {"bin", "boto3", "botocore", "cffi", "dev", "infra", "pycparser", "tests", "web"}
    assert {name for name in names if name.endswith(".dist-info")} == {
        path.name for path in bundle.glob("psycopg*.dist-info")
    }
    assert [path for path in bundle.rglob("*") if path.name in {"tests", "testing", "py.typed"}] == []
    assert {path.suffix for path in bundle.rglob("*.*") if path.is_file()}.isdisjoint({".c", ".h", ".pyi"})
    others = set(build.ENTRIES) - {bundle.name}
    assert {path.name for path in (bundle / "functions").iterdir()}.isdisjoint(others)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= build.LARGEST
    executable = [path.name for path in files if os.access(path, os.X_OK)]
    assert executable == (["bootstrap"] if bundle.name == "chat_stream" else [])


def test_whatever_a_module_reads_beside_itself_comes_along():
    reading = {
        path.relative_to(build.ROOT).as_posix()
        for folder in ("shared", "functions", "migrations")
        for path in (build.ROOT / folder).rglob("*.py")
        if "__file__" in path.read_text("utf-8")
    }
    bootstrap = "functions/chat_stream/app.py"
    assert build.DATA.keys() == {bootstrap, *reading}
    assert all(list(build.ROOT.glob(pattern)) for pattern in build.DATA.values())


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    made = []
    for folder in (tmp_path / "a", tmp_path / "another/folder"):
        with downloading():
            build.build("migrate", folder, architecture="x86_64")
        made.append(
            {
                path.relative_to(folder): (path.stat().st_mtime, path.stat().st_mode, contents(path))
                for path in sorted(folder.rglob("*"))
            }
        )
    assert made[0] == made[1]


def contents(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def test_a_package_whose_hash_is_another_is_refused(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"h11==0.16.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(AssertionError, match="Hash mismatch"), downloading():
        build.install(tmp_path / "made", [lock], architecture="arm64")


def test_where_there_is_no_interpreter_of_the_version_the_bundle_says_so(tmp_path, capsys):
    (tmp_path / "module.py").write_text("x = 1")
    build.compile_bytecode(tmp_path, (3, 99))
    assert "there is no Python 3.99 here" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["module.py"]


def test_a_setting_that_is_none_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ARCH", "riscv")
    assert build.main(["migrate", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err == "ARCH must be one of arm64, x86_64.\n"
    assert not (tmp_path / "made").exists()
