"""The SQL files of this folder: numbered migrations, and one file for each stored function."""

import hashlib
import re
from pathlib import Path

from msgspec import Struct

_FOLDER = Path(__file__).parent
_NUMBERED = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_VERSION = re.compile(r"-- version ([1-9]\d*)\n")
_CREATED = re.compile(r"^create or replace function \$functions\.([a-z0-9_]+)\(", re.MULTILINE)


class MigrationError(Exception):
    """The migrations cannot be applied to this database. The message gives the reason."""


class _File(Struct, frozen=True):
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text before its placeholders are filled in, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Migration(_File, frozen=True):
    """A numbered file, which is applied once."""


class StoredFunction(_File, frozen=True):
    """A file of the folder `functions`. It is applied again when its version is raised."""

    @property
    def version(self) -> int:
        """The number in the first line, `-- version N`. Raises MigrationError if the first line has none."""
        match = _VERSION.match(self.sql)
        if match is None:
            raise MigrationError(f"functions/{self.name}.sql: the first line must be '-- version 1'")
        return int(match[1])


class Files(Struct, frozen=True):
    migrations: tuple[Migration, ...]
    functions: tuple[StoredFunction, ...] = ()


def load(folder: Path = _FOLDER) -> Files:
    """Reads all files, in order. Raises MigrationError for a wrong name, number or first line."""
    migrations = tuple(Migration(path.name, path.read_text("utf-8")) for path in sorted(folder.glob("*.sql")))
    for number, migration in enumerate(migrations, start=1):
        if not _NUMBERED.fullmatch(migration.name) or int(migration.name[:4]) != number:
            raise MigrationError(f"{migration.name}: expected a file named {number:04}_verb_object.sql here")
    paths = sorted((folder / "functions").glob("*.sql"))
    functions = tuple(StoredFunction(path.stem, path.read_text("utf-8")) for path in paths)
    for function in functions:
        assert function.version
        if _CREATED.findall(function.sql) != [function.name]:
            raise MigrationError(f"functions/{function.name}.sql: must create the function {function.name}")
    return Files(migrations, functions)
