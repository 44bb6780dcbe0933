"""Generates the schema components of an OpenAPI document from msgspec types."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from shared.endpoints import Endpoint, LazyTypes
from shared.ids import RequestId

_SCHEMAS = "#/components/schemas/"


class Types:
    """The schemas of all types of the endpoints, and of `error`, the body of most errors.

    Objects from the server have no additional properties. Objects from clients may have some, which are
    ignored.
    """

    def __init__(self, endpoints: Sequence[Endpoint], error: Any) -> None:
        received = [endpoint.body.type for endpoint in endpoints if endpoint.body]
        sent = [error, *(type_ for endpoint in endpoints for type_ in _sent_by(endpoint))]
        all_types = [*received, *sent]
        schemas, components = msgspec.json.schema_components(
            all_types, schema_hook=_schema_hook, ref_template=_SCHEMAS + "{name}"
        )
        self._schemas = {repr(type_): _tidy(schema) for type_, schema in zip(all_types, schemas, strict=True)}
        self.components = {_short(name): _tidy(schema) for name, schema in components.items()}
        self.components = dict(sorted(self.components.items()))
        for name in self._referenced_by(sent) - self._referenced_by(received):
            if self.components[name].get("type") == "object":
                self.components[name]["additionalProperties"] = False

    def schema(self, type_: Any) -> dict[str, Any]:
        return dict(self._schemas[repr(type_)])

    def one_of(self, types: Iterable[Any]) -> dict[str, Any]:
        schemas = [self.schema(type_) for type_ in types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _referenced_by(self, types: Iterable[Any]) -> set[str]:
        """The names of the components that the types refer to, directly or indirectly."""
        found: set[str] = set()
        left = [name for type_ in types for name in _references(self.schema(type_))]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += _references(self.components[name])
        return found


def load_types(types: tuple[Any, ...] | LazyTypes) -> tuple[Any, ...]:
    """The types of a reply. Lazy types are imported."""
    return types() if callable(types) else types


def _sent_by(endpoint: Endpoint) -> Iterator[Any]:
    if endpoint.error_type:
        yield endpoint.error_type()
    for reply in endpoint.replies:
        yield from load_types(reply.types)


def _schema_hook(type_: type) -> dict[str, str]:
    if type_ is not RequestId:
        raise NotImplementedError
    return {"type": "string", "format": "uuid"}


def _references(schema: Any) -> Iterator[str]:
    text = msgspec.json.encode(schema).decode()
    return (match[1] for match in re.finditer(rf'"{_SCHEMAS}([^"]+)"', text))


def _tidy(schema: Any) -> Any:
    """The schema with short names and one-line descriptions, without titles, which only repeat the names."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidy(value) for name, value in schema.items()}
    # A property can be named "title". Its value is a schema, not a string.
    if isinstance(tidied.get("title"), str):
        del tidied["title"]
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(inspect.cleandoc(tidied["description"]).split())
    if isinstance(tidied.get("$ref"), str):
        tidied["$ref"] = _SCHEMAS + _short(tidied["$ref"].removeprefix(_SCHEMAS))
    return tidied


def _short(name: str) -> str:
    """If two types have the same name, msgspec's name includes the module: `a.chat.Body` becomes `ChatBody`.
    Types of a module named `schemas` keep their name."""
    *_, module, own = f".{name}".split(".")
    return own if module in {"", "schemas"} else module.title().replace("_", "") + own
