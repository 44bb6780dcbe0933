"""Applies the migrations, when the pipeline asks for it before traffic moves."""

import os
from typing import Any

from migrations import migrate


def handler(_event: Any, _context: Any) -> dict[str, list[str]]:
    return {"applied": migrate.apply(os.environ["MIGRATION_DATABASE_URL"])}
