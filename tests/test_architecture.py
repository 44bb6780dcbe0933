"""Imports run one way. What may not import what, read from the source."""

import pytest

from infra.build import ROOT
from infra.imports import imports

SOURCES = [path for folder in ("shared", "functions") for path in sorted((ROOT / folder).rglob("*.py"))]


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


IMPORTS = {module_of(path): set(imports(path)) for path in SOURCES}


def within(module, *packages):
    return any(module == package or module.startswith(package + ".") for package in packages)


FORBIDDEN = {
    "shared": ("functions", "dev", "infra", "migrations", "tests"),
    "functions": ("dev", "infra", "tests"),
    "functions.chat_stream": ("functions.conversations", "functions.migrate", "migrations"),
    "functions.conversations": ("functions.chat_stream", "functions.migrate", "migrations"),
    "functions.migrate": ("functions.chat_stream", "functions.conversations"),
    "shared.llm": ("functions", "shared.web", "shared.db", "starlette"),
    "functions.chat_stream.dialects": (
        "shared.llm.client",
        "shared.llm.providers",
        "shared.db",
        "httpx",
        "functions.chat_stream.turn",
        "functions.chat_stream.store",
        "functions.chat_stream.records",
    ),
    # Storage, the turn and the prompt know no wire format of a client.
    "functions.chat_stream.store": ("functions.chat_stream.dialects",),
    "functions.chat_stream.records": ("functions.chat_stream.dialects",),
    "functions.chat_stream.turn": ("functions.chat_stream.dialects", "starlette"),
    "functions.chat_stream.checkpoints": ("functions.chat_stream.dialects", "starlette"),
    "functions.chat_stream.prompt": (
        "functions.chat_stream.dialects",
        "functions.chat_stream.store",
        "shared.db",
        "shared.llm.client",
        "httpx",
    ),
}


def violations(imports, package, forbidden):
    return [
        f"{module} imports {imported}"
        for module, imported_ones in imports.items()
        if within(module, package)
        for imported in imported_ones
        if within(imported, *forbidden)
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package):
    assert any(within(module, package) for module in IMPORTS)
    assert violations(IMPORTS, package, FORBIDDEN[package]) == []


def test_an_import_in_the_wrong_direction_is_found():
    imports = {"shared.web": {"starlette", "functions.chat_stream.app"}, "shared.website": {"functions"}}
    assert violations(imports, "shared.web", ("functions",)) == [
        "shared.web imports functions.chat_stream.app"
    ]


def test_only_stores_and_the_database_module_know_sql():
    knowing = {
        module for module, imported in IMPORTS.items() if any(within(name, "psycopg") for name in imported)
    }
    assert knowing == {"shared.db"}
    using = {
        module for module, imported in IMPORTS.items() if any(within(name, "shared.db") for name in imported)
    }
    names = {module.rsplit(".", 1)[1] for module in using}
    assert {name for name in names if name.rsplit("_", 1)[-1] != "store"} <= {"app"}


def test_only_app_wires():
    wiring = {
        module
        for module, imported in IMPORTS.items()
        if {"shared.db.Database", "shared.llm.client.ModelClient"} & imported and "os" in imported
    }
    assert wiring <= {"functions.chat_stream.app", "functions.conversations.app"}


def test_decoders_encoders_and_prices_do_no_io():
    pure = {
        "shared.events",
        "shared.sse",
        "shared.costs",
        "shared.llm.anthropic_format",
        "shared.llm.openai_format",
        "shared.llm.ollama_format",
        *(module for module in IMPORTS if within(module, "functions.chat_stream.dialects")),
    }
    for module in pure:
        assert not {"asyncio", "httpx", "socket", "psycopg", "boto3"} & IMPORTS[module], module
