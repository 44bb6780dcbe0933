"""The names of the two schemas in the database, and their placeholders in SQL.

SQL of this project writes `$tables.messages` and `$functions.begin_turn`. The placeholders are filled in
before a statement is sent, so that the project can share a database with schemas of other applications.
"""

import re

from msgspec import Struct

NAME_PATTERN = "[a-z_][a-z0-9_]{0,62}"

_PLACEHOLDER = re.compile(r"\$(tables|functions)\b")


class DatabaseSchemas(Struct, frozen=True):
    """`tables` is the schema of the tables. `functions` is the schema of the stored functions and of the
    table of applied migrations. Raises ValueError for a name that does not match NAME_PATTERN."""

    tables: str = "public"
    functions: str = "app"

    def __post_init__(self) -> None:
        for name in (self.tables, self.functions):
            if not re.fullmatch(NAME_PATTERN, name, re.ASCII):
                raise ValueError(f"{name!r} cannot be the name of a schema")

    def fill(self, sql: str) -> str:
        """The SQL with both placeholders replaced by quoted names."""
        names = {"tables": self.tables, "functions": self.functions}
        return _PLACEHOLDER.sub(lambda match: f'"{names[match[1]]}"', sql)
