"""Stub: the OpenAI dialect is being written."""

from collections.abc import Sequence
from typing import Any


def models(names: Sequence[str], created: int) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": n, "object": "model", "created": created} for n in names]}
