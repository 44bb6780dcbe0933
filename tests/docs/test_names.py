"""What the Markdown pages name exists: files, links, `make` targets, modules, stored functions, environment
variables and tests."""

import os
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from dev.local import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SUFFIXES = "css|html|js|json|md|mjs|pem|py|sh|sql|toml|ts|txt|yaml|yml"
# Files that commands or other programs write, and files that a reader creates.
OTHER_FILES = {"extra-openai-models.yaml"}
# Files that the examples of CONTRIBUTING.md create.
EXAMPLE_FILES = {
    "functions/chat_stream/dialects/lines.py",
    "functions/chat_stream/prompt/short_answers.py",
    "tests/functions/chat_stream/prompt/test_short_answers.py",
}
# Variables of other programs, and of the examples.
OTHER_VARIABLES = {"AWS_ROLE_ARN", "TOGETHER_API_KEY", "USER_ID"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def inline_code(page: Path) -> list[str]:
    """The inline code of a page, without its code blocks."""
    return re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    )


@cache
def files() -> list[str]:
    """The paths of the project's files. Installed and generated ones are left out."""
    found = []
    for folder, names, leaves in os.walk(ROOT):
        names[:] = [name for name in names if name == ".github" or not name.startswith((".", "node_modules"))]
        found += [Path(folder, leaf).relative_to(ROOT).as_posix() for leaf in leaves]
    return found


@cache
def source() -> str:
    """The text of all files in which code or configuration stands."""
    kinds = (".py", ".sql", ".yaml", ".yml", ".toml", ".js", ".mjs", "Makefile", "bootstrap")
    return "\n".join((ROOT / path).read_text("utf-8") for path in files() if path.endswith(kinds))


@each_page
def test_files_exist(page):
    missing = []
    for code in inline_code(page):
        for name in re.findall(rf"(?<![\w./<*-])\.?[\w<*][\w./<>*-]*\.(?:{SUFFIXES})(?![\w/<-])", code):
            if name in EXAMPLE_FILES | OTHER_FILES or name.startswith((".local/", ".aws-sam/")):
                continue
            if not exists(name):
                missing.append(name)
    assert missing == []


def exists(name: str) -> bool:
    """Whether there is such a path, or a file of this name in any folder. `<function>`, `NAME` and `*` stand
    for any text."""
    pattern = re.sub(r"<\w+>|\bNAME\b", "*", name)
    in_any_folder = pattern if "/" in name else f"*/{pattern}"
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, in_any_folder) for path in files())


@each_page
def test_folders_exist(page):
    folders = {code for code in inline_code(page) if re.fullmatch(r"[a-z][\w-]*(/[\w-]+)*/", code)}
    known = {f"/{path.rpartition('/')[0]}/" for path in files()}
    missing = [folder for folder in folders if not any(f"/{folder}" in path for path in known)]
    assert missing == []


@each_page
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    blocks = "".join(re.findall(r"^```(?:sh|console)\n.*?^```", text_of(page), re.MULTILINE | re.DOTALL))
    named = set()
    for code in [*inline_code(page), *blocks.splitlines()]:
        named |= set(re.findall(r"(?:^|[ (])make (?:-s )?([a-z][a-z-]*)", code.partition("#")[0]))
    assert named - targets == set()


@each_page
def test_modules_that_are_started_exist(page):
    for module in re.findall(r"python -m ([\w.]+)", text_of(page)):
        path = ROOT / module.replace(".", "/")
        started = path.with_suffix(".py").exists() or (path / "__main__.py").exists()
        assert started or module in {"pytest", "venv"}, module


@each_page
def test_stored_functions_exist(page):
    named = set(re.findall(r"\bapp\.([a-z_]+)\b(?!\.|:)", " ".join(inline_code(page)))) - {"py", "app"}
    created = set(re.findall(r"create (?:or replace )?function \$functions\.(\w+)", source()))
    assert named - created == set()


@each_page
def test_environment_variables_exist(page):
    named = {
        name
        for code in inline_code(page)
        for name in re.findall(r"(?<![\w…])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)", code)
    }
    # The settings of a provider are made of its prefix, and tables of settings are made from the code.
    known = set(re.findall(r"\w+", source())) | set(re.findall(r"\w+", text_of(ROOT / "docs/settings.md")))
    assert named - known - OTHER_VARIABLES == set()


@each_page
def test_tests_exist(page):
    named = set(re.findall(r"\btest_\w+\b(?!\.|\w)", " ".join(inline_code(page))))
    defined = set(re.findall(r"def (test_\w+)", source()))
    assert named - defined == set()
