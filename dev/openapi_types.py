"""The schemas of msgspec's types, as components of an OpenAPI description."""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from shared.openapi import Error, Operation

_SCHEMAS = "#/components/schemas/"


class Types:
    """All types that are named in the operations. What we send has no names but those described; what
    clients send may have others, which are left unread."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        received = [operation.body.type for operation in operations if operation.body]
        sent = [Error, *(type_ for operation in operations for type_ in _sent_by(operation))]
        others = [operation.id_type for operation in operations]
        others += [parameter.type for operation in operations for parameter in operation.parameters]
        every = [*received, *sent, *others]
        schemas, components = msgspec.json.schema_components(every, ref_template=_SCHEMAS + "{name}")
        self._schemas = {repr(type_): _tidied(schema) for type_, schema in zip(every, schemas, strict=True)}
        self.components = {_short(name): _tidied(schema) for name, schema in components.items()}
        self.components = dict(sorted(self.components.items()))
        for name in self._reached(sent) - self._reached(received):
            if self.components[name].get("type") == "object":
                self.components[name]["additionalProperties"] = False

    def schema(self, type_: Any) -> dict[str, Any]:
        return dict(self._schemas[repr(type_)])

    def one_of(self, types: Iterable[Any]) -> dict[str, Any]:
        schemas = [self.schema(type_) for type_ in types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _reached(self, types: Iterable[Any]) -> set[str]:
        """The names of the components that these are made of."""
        found: set[str] = set()
        left = [name for type_ in types for name in _references(self.schema(type_))]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += _references(self.components[name])
        return found


def _sent_by(operation: Operation) -> Iterator[Any]:
    yield operation.error_type
    for replies in operation.replies.values():
        for reply in replies:
            yield from reply.types


def _references(schema: Any) -> Iterator[str]:
    text = msgspec.json.encode(schema).decode()
    return (match[1] for match in re.finditer(rf'"{_SCHEMAS}([^"]+)"', text))


def _tidied(schema: Any) -> Any:
    """Short names, descriptions without the indentation of their source, and no titles that only say
    what the name says."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidied(value) for name, value in schema.items()}
    # A property may be called so too; it is no text then.
    if isinstance(tidied.get("title"), str):
        del tidied["title"]
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(inspect.cleandoc(tidied["description"]).split())
    if isinstance(tidied.get("$ref"), str):
        tidied["$ref"] = _SCHEMAS + _short(tidied["$ref"].removeprefix(_SCHEMAS))
    return tidied


def _short(name: str) -> str:
    """Of several types of one name, msgspec gives the modules too: `a.chat.Body` becomes `ChatBody`. What
    is in a module `shapes` keeps its own."""
    *_, module, own = f".{name}".split(".")
    return own if module in {"", "shapes"} else module.title().replace("_", "") + own
