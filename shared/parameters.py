"""The parameters of requests: one object checks a parameter and describes it in OpenAPI.

Parameters are in the query string, in the path or in a header. `parse` and `schema` of a class use the same
fields.
"""

import re
from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

from msgspec import Struct

from shared.errors import InvalidRequest, NotFound
from shared.ids import parse_uuid

T_co = TypeVar("T_co", covariant=True)
ChoiceT_co = TypeVar("ChoiceT_co", bound=str, covariant=True)

Place: TypeAlias = Literal["query", "path", "header"]


class Parameter(Struct, Generic[T_co], frozen=True, kw_only=True, eq=False):
    """`description` is for OpenAPI. A subclass defines `parse` and `schema`. Compared by identity."""

    name: str
    description: str
    place: Place = "query"
    required: bool = False

    def parse(self, text: str | None) -> T_co:
        """The value of a text; None is an absent parameter. Raises InvalidRequest with the name."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the texts that `parse` accepts, with the default if there is one."""
        raise NotImplementedError


class Integer(Parameter[int], frozen=True, kw_only=True, eq=False):
    """A whole number from `at_least` to `at_most`, in up to 10 ASCII digits. Absent: `default`."""

    default: int
    at_least: int
    at_most: int

    def parse(self, text: str | None) -> int:
        if text is None:
            return self.default
        if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and self.at_least <= int(text) <= self.at_most:
            return int(text)
        raise InvalidRequest(
            f"{self.name} must be a whole number from {self.at_least} to {self.at_most}", field=self.name
        )

    def schema(self) -> dict[str, Any]:
        return {
            "type": "integer",
            "minimum": self.at_least,
            "maximum": self.at_most,
            "default": self.default,
        }


class Choice(Parameter[ChoiceT_co], Generic[ChoiceT_co], frozen=True, kw_only=True, eq=False):
    """One of `choices`. Absent: the first."""

    choices: tuple[ChoiceT_co, ...]

    def parse(self, text: str | None) -> ChoiceT_co:
        for choice in self.choices:
            if text in {None, choice}:
                return choice
        raise InvalidRequest(f"{self.name} must be one of {', '.join(self.choices)}", field=self.name)

    def schema(self) -> dict[str, Any]:
        return {"enum": sorted(self.choices), "default": self.choices[0]}


class SearchText(Parameter[str], frozen=True, kw_only=True, eq=False):
    """A text of 1 to `max_length` characters, with at least one that is not white space, and without NUL."""

    max_length: int

    def parse(self, text: str | None) -> str:
        if text is None or not text.strip() or len(text) > self.max_length or "\0" in text:
            raise InvalidRequest(
                f"{self.name} must be a text of 1 to {self.max_length} characters", field=self.name
            )
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": self.max_length, "pattern": r"\S"}


class ResourceId(Parameter[UUID], frozen=True, kw_only=True, eq=False):
    """The id of a `resource`, such as a conversation.

    `parse` raises NotFound for a text that is not a UUID, because no resource has such an id.
    """

    resource: str

    def parse(self, text: str | None) -> UUID:
        if text is None:
            raise InvalidRequest(f"{self.name} is missing", field=self.name)
        if (resource_id := parse_uuid(text)) is None:
            raise NotFound(f"no such {self.resource}")
        return resource_id

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


class Text(Parameter[str | None], frozen=True, kw_only=True, eq=False):
    """A text that the handler checks further. `constraints` are members of its JSON Schema."""

    constraints: Mapping[str, Any] = {}

    def parse(self, text: str | None) -> str | None:
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", **self.constraints}
