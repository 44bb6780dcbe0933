"""The schemas of msgspec's types, as components of an OpenAPI description."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from shared.endpoints import Endpoint, LazyTypes
from shared.ids import RequestId

_SCHEMAS = "#/components/schemas/"


class Types:
    """The schemas of all types of the endpoints, and of `error`, the JSON of most errors.

    Objects that the server sends have no other names than the described ones. Objects that clients send may
    have others, which are ignored.
    """

    def __init__(self, endpoints: Sequence[Endpoint], error: Any) -> None:
        received = [endpoint.body.type for endpoint in endpoints if endpoint.body]
        sent = [error, *(type_ for endpoint in endpoints for type_ in _sent_by(endpoint))]
        every = [*received, *sent]
        schemas, components = msgspec.json.schema_components(
            every, schema_hook=_schema_hook, ref_template=_SCHEMAS + "{name}"
        )
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
        """The names of the components that the types refer to, also indirectly."""
        found: set[str] = set()
        left = [name for type_ in types for name in _references(self.schema(type_))]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += _references(self.components[name])
        return found


def load_types(types: tuple[Any, ...] | LazyTypes) -> tuple[Any, ...]:
    """The types of a reply, imported if they are lazy."""
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


def _tidied(schema: Any) -> Any:
    """A schema with short names and descriptions on one line, without titles, which repeat the names."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidied(value) for name, value in schema.items()}
    # A property may have this name too; its value is a schema, not a text.
    if isinstance(tidied.get("title"), str):
        del tidied["title"]
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(inspect.cleandoc(tidied["description"]).split())
    if isinstance(tidied.get("$ref"), str):
        tidied["$ref"] = _SCHEMAS + _short(tidied["$ref"].removeprefix(_SCHEMAS))
    return tidied


def _short(name: str) -> str:
    """Types with equal names have their module in msgspec's name: `a.chat.Body` becomes `ChatBody`. Those of
    a module `schemas` keep their own name."""
    *_, module, own = f".{name}".split(".")
    return own if module in {"", "schemas"} else module.title().replace("_", "") + own
