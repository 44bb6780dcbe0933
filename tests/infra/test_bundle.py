"""The content of the bundles, and how they are built."""

import os
import tomllib
import zipfile
from hashlib import sha256

import pytest

from infra import build, interpreters
from tests.infra.bundles import downloading, make

FUNCTIONS = {
    "ChatStreamFunction": "chat_stream",
    "ConversationsFunction": "conversations",
    "MigrateFunction": "migrate",
}
# Values of e_machine in the header of an ELF file.
ARM64, X86_64 = 183, 62


def files(bundle):
    return [path for path in sorted(bundle.rglob("*")) if path.is_file()]


def machines(bundle):
    return {path.read_bytes()[18] for path in bundle.rglob("*.so*")}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_bundle_has_bytecode_for_every_module_and_machine_code_for_its_platform(deployed, function):
    if not interpreters.find(build.VERSION):
        pytest.skip(f"there is no Python {interpreters.name(build.VERSION)} here")
    assert machines(deployed / function) == {ARM64}
    for path in (deployed / function).rglob("*.py"):
        tag = "cpython-{}{}".format(*build.VERSION)
        bytecode = (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").read_bytes()
        # PEP 552: the file has the hash of the source, which the interpreter does not check.
        assert bytecode[4:8] == b"\1\0\0\0", path


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_bundle_has_only_files_that_run(deployed, function):
    bundle = deployed / function
    names = {path.name for path in bundle.iterdir()}
    assert not names & {"bin", "boto3", "botocore", "cffi", "dev", "infra", "pycparser", "tests", "web"}
    assert {name for name in names if name.endswith(".dist-info")} == {
        path.name for path in bundle.glob("psycopg*.dist-info")
    }
    assert [path for path in bundle.rglob("*") if path.name in {"tests", "testing", "py.typed"}] == []
    assert {path.suffix for path in files(bundle)}.isdisjoint({".c", ".h", ".pyi"})
    functions = {path.name for path in (bundle / "functions").iterdir() if path.is_dir()}
    assert functions - {"__pycache__"} == {FUNCTIONS[function]}
    assert sum(path.stat().st_size for path in files(bundle)) <= build.MAX_BUNDLE_BYTES
    executable = [path.name for path in files(bundle) if os.access(path, os.X_OK)]
    assert executable == (["bootstrap"] if function == "ChatStreamFunction" else [])


def test_the_template_names_the_folders(deployed):
    template = (deployed / "template.yaml").read_text("utf-8")
    for function in FUNCTIONS:
        assert f"CodeUri: {function}\n" in template


def test_arch_chooses_the_architecture(tmp_path):
    make("build-MigrateFunction", "ARCH=x86_64", f"ARTIFACTS_DIR={tmp_path / 'made'}")
    assert machines(tmp_path / "made") == {X86_64}


def test_every_file_that_a_module_reads_is_in_the_bundle():
    reading = {
        path.relative_to(build.ROOT).as_posix()
        for folder in ("shared", "functions", "migrations")
        for path in (build.ROOT / folder).rglob("*.py")
        if "__file__" in path.read_text("utf-8")
    }
    bootstrap = "functions/chat_stream/app.py"
    # The build writes the OpenAPI document, which is not in the repository.
    assert build.DATA.keys() | {build.OPENAPI_READER.as_posix()} == {bootstrap, *reading}
    assert all(list(build.ROOT.glob(pattern)) for pattern in build.DATA.values())


def test_the_same_inputs_give_the_same_bytes(deployed, tmp_path):
    with downloading():
        build.build("migrate", tmp_path / "again", architecture="arm64")
    first, second = (
        {path.relative_to(folder): zipped(path) for path in folder.rglob("*")}
        for folder in (deployed / "MigrateFunction", tmp_path / "again")
    )
    assert first == second


def test_a_build_gives_the_same_bytes_after_a_newer_version_was_published(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    wheel = publish(index, "1.0")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"some-package==1.0 --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    build.install(tmp_path / "before", [lock], architecture="arm64")

    publish(index, "2.0")
    # A configuration and a variable that drop the pin, as a checkout, a user or a CI may have them.
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.uv]\noverride-dependencies = ["some-package"]\n')
    monkeypatch.chdir(project)
    (tmp_path / "overrides.txt").write_text("some-package\n")
    monkeypatch.setenv("UV_OVERRIDE", str(tmp_path / "overrides.txt"))
    build.install(tmp_path / "after", [lock], architecture="arm64")
    assert content(tmp_path / "before") == content(tmp_path / "after")
    assert (tmp_path / "after" / "some_package.py").read_text() == "version = '1.0'\n"


def publish(index, version):
    """Puts a wheel of `some-package` into the folder `index` and returns its path."""
    wheel = index / f"some_package-{version}-py3-none-any.whl"
    info = f"some_package-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_package.py", f"version = '{version}'\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: some-package\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"some_package.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return wheel


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in files(folder)}


def test_the_build_reads_no_configuration_of_this_project():
    assert "uv" not in tomllib.loads((build.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]


def zipped(path):
    """The parts of a file that a zip contains: time, mode and content."""
    status = path.stat()
    return status.st_mtime, status.st_mode, path.read_bytes() if path.is_file() else None


def test_a_package_with_another_hash_is_refused(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"h11==0.16.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(AssertionError, match="Hash mismatch"), downloading():
        build.install(tmp_path / "made", [lock], architecture="arm64")


def test_a_warning_says_that_there_is_no_interpreter_for_bytecode(tmp_path, capsys):
    (tmp_path / "module.py").write_text("x = 1")
    build.compile_bytecode(tmp_path, (3, 99))
    assert "Python 3.99 is not installed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["module.py"]


def test_a_pyenv_folder_that_cannot_be_read_has_no_interpreter(monkeypatch):
    # As for the folder of another user: `stat` raises an OSError, here because the name is too long.
    monkeypatch.setenv("PYENV_ROOT", "/" + "x" * 300)
    assert interpreters.find((3, 98)) is None


def test_an_unknown_architecture_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ARCH", "riscv")
    assert build.main(["migrate", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err == "ARCH must be one of arm64, x86_64.\n"
    assert not (tmp_path / "made").exists()
