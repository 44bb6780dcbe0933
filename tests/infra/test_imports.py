"""The modules that are reachable from the entries of a bundle."""

import pytest

from infra.imports import reachable


def project(root, **sources):
    for module, source in sources.items():
        path = root.joinpath(*module.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)


def names(root, *entries):
    return {path.relative_to(root).as_posix() for path in reachable(root, entries)}


def test_indirect_and_late_imports_are_reachable_with_their_packages(tmp_path):
    project(
        tmp_path,
        app__main="import json\nfrom app import near\nfrom other.deep.far import thing",
        app__near="def later():\n    import other.late",
        app__unused="import other.unused",
        other__deep__far="thing = 1",
        other__late="",
        other__unused="",
    )
    (tmp_path / "other/__init__.py").touch()
    assert names(tmp_path, "app.main") == {
        "app/__init__.py",
        "app/main.py",
        "app/near.py",
        "other/__init__.py",
        "other/deep/__init__.py",
        "other/deep/far.py",
        "other/late.py",
    }


def test_modules_that_import_each_other_are_listed_once(tmp_path):
    project(tmp_path, app__one="import app.two", app__two="import app.one")
    assert names(tmp_path, "app.one", "app.two") == {"app/__init__.py", "app/one.py", "app/two.py"}


def test_a_missing_entry_is_an_error(tmp_path):
    with pytest.raises(ModuleNotFoundError, match=r"app\.main"):
        reachable(tmp_path, ["app.main"])


def test_relative_imports_are_refused(tmp_path):
    project(tmp_path, app__main="from . import near")
    with pytest.raises(NotImplementedError, match="relative import"):
        reachable(tmp_path, ["app.main"])
