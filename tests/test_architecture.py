"""Imports between packages run one way, and only app.py constructs services. Read from the source."""

import ast

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
    # Storage, the turn and the prompt do not know the wire formats of clients.
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
        for module, imported_modules in imports.items()
        if within(module, package)
        for imported in imported_modules
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


def importers_of(package):
    return {module for module, imported in IMPORTS.items() if any(within(name, package) for name in imported)}


def test_only_the_database_module_imports_psycopg_and_only_stores_and_app_import_the_database():
    assert importers_of("psycopg") == {"shared.db"}
    names = {module.rsplit(".", 1)[1] for module in importers_of("shared.db")}
    assert {name for name in names if name != "store" and not name.endswith("_store")} == {"app"}


def constructions(source, module):
    """The full names of the classes of this project that the source of a module constructs, by a call of the
    class or of its `from_settings`."""
    tree = ast.parse(source)
    full_names = {
        name.asname or name.name: f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    full_names |= {
        name.asname: name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
        if name.asname
    }
    full_names |= {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    resolved = [
        full_names.get(first, first) + dot + rest for first, dot, rest in (c.partition(".") for c in called)
    ]
    classes = {name.removesuffix(".from_settings") for name in resolved}
    return {
        name
        for name in classes
        if within(name, "shared", "functions") and name.rsplit(".", 1)[1].lstrip("_")[:1].isupper()
    }


APPS = ("functions.chat_stream.app", "functions.conversations.app")
CONSTRUCTIONS = {module_of(path): constructions(path.read_text("utf-8"), module_of(path)) for path in SOURCES}


def test_services_are_constructed_by_app_alone():
    services = set().union(*(CONSTRUCTIONS[app] for app in APPS))
    assert {"shared.db.Database", "shared.llm.client.ModelClient", "shared.auth.TokenVerifier"} <= services
    assert {
        module: constructed & services
        for module, constructed in CONSTRUCTIONS.items()
        if module not in APPS and constructed & services
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "from shared.llm.client import ModelClient\nModelClient(settings)",
        "from shared.llm.client import ModelClient as Client\ndef f():\n    return g(Client(settings))",
        "from shared.llm import client\nx = client.ModelClient(settings)",
        "import shared.llm.client\nx = shared.llm.client.ModelClient(settings)",
        "import shared.llm.client as c\nx = c.ModelClient.from_settings(settings)",
    ],
    ids=["name", "alias", "module", "full name", "from_settings"],
)
def test_a_construction_is_found(source):
    assert constructions(source, "shared.web") == {"shared.llm.client.ModelClient"}


def test_a_construction_in_the_module_of_the_class_is_found():
    assert constructions("class Pool: ...\nPool()", "shared.db") == {"shared.db.Pool"}


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
