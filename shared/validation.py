"""Finds the first field of a JSON value that does not match a msgspec type, and describes what it must be.

msgspec decides whether a body is valid. This module runs after msgspec has refused one, because msgspec's
own messages name Python types and only one bound. The sentences contain no values of the body.
"""

import math
import re
import typing
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, inspect

from shared.errors import InvalidRequest
from shared.ids import decode_hook

# For each msgspec type: the Python types of `json.loads` that it may accept.
_JSON_TYPES: Mapping[type[inspect.Type], frozenset[type]] = {
    inspect.AnyType: frozenset({str, int, float, bool, type(None), list, dict}),
    inspect.BoolType: frozenset({bool}),
    inspect.CustomType: frozenset({str}),
    inspect.DateTimeType: frozenset({str}),
    inspect.DictType: frozenset({dict}),
    inspect.FloatType: frozenset({int, float}),
    inspect.IntType: frozenset({int}),
    inspect.ListType: frozenset({list}),
    inspect.LiteralType: frozenset({str}),
    inspect.NoneType: frozenset({type(None)}),
    inspect.StrType: frozenset({str}),
    inspect.StructType: frozenset({dict}),
}
_PATTERNS: Mapping[str, str] = {r"\S": "that is not blank"}
_NAMES: Mapping[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.CustomType: "a UUID",
    inspect.DictType: "an object",
    inspect.StructType: "an object",
}


class _Problem(NamedTuple):
    """`path` leads to the invalid value: names of objects and indexes of arrays."""

    path: tuple[str | int, ...]
    sentence: str


def find_error(value: Any, struct: type[Any]) -> InvalidRequest | None:
    """The error of the first invalid field, in the order of the body, or None when all fields are valid.

    `value` is what `json.loads` returns. `struct` is a msgspec Struct of strings, numbers, booleans, literal
    strings, ids (`RequestId`), times, lists, objects of any values, and other Structs. The name of a field
    has the form `messages[0].role`.
    """
    problem = _check(value, inspect.type_info(struct), ())
    if problem is None:
        return None
    if not problem.path:
        return InvalidRequest("the body must be a JSON object")
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.path)
    field = "".join(steps).removeprefix(".")
    return InvalidRequest(f"{field} {problem.sentence}", field=field)


def _check(value: Any, expected: inspect.Type, choices: Sequence[str]) -> _Problem | None:
    """`choices` are the allowed values of a field with literals."""
    types = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
    problem = None
    for type_ in types:
        if type(value) in _JSON_TYPES[type(type_)]:
            type_problem = _check_type(value, type_, choices)
            if type_problem is None:
                return None
            problem = problem or type_problem
    return problem or _Problem((), _describe_all(types, choices))


def _check_type(value: Any, expected: inspect.Type, choices: Sequence[str]) -> _Problem | None:
    if isinstance(expected, inspect.StructType):
        return _check_struct(value, expected.cls)
    if not _is_valid(value, expected):
        return _Problem((), _describe_all((expected,), choices))
    if isinstance(expected, inspect.ListType):
        return _check_items(value, expected.item_type, choices)
    if isinstance(expected, inspect.AnyType | inspect.DictType) and not _is_finite(value):
        return _Problem((), "has a number out of range")
    return None


def _check_items(items: Sequence[Any], expected: inspect.Type, choices: Sequence[str]) -> _Problem | None:
    for index, item in enumerate(items):
        if problem := _check(item, expected, choices):
            return _Problem((index, *problem.path), problem.sentence)
    return None


def _check_struct(value: Mapping[str, Any], struct: Hashable) -> _Problem | None:
    fields = _fields(struct)
    for name, item in value.items():
        if entry := fields.get(name):
            field, choices = entry
            if problem := _check(item, field.type, choices):
                return _Problem((name, *problem.path), problem.sentence)
    missing = next((name for name in _required(struct) if name not in value), None)
    return _Problem((missing,), "is missing") if missing else None


@cache  # a body has up to 80,000 objects of one type
def _fields(struct: Hashable) -> Mapping[str, tuple[inspect.Field, Sequence[str]]]:
    """The fields of a Struct and the allowed values of their literals, by the name in JSON."""
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    hints = typing.get_type_hints(struct)
    return {field.encode_name: (field, _literals(hints[field.name])) for field in described.fields}


@cache
def _required(struct: Hashable) -> Sequence[str]:
    return [name for name, (field, _) in _fields(struct).items() if field.required]


def _literals(hint: Any) -> list[str]:
    """The values of the literals in a type, in the order of the source: msgspec sorts them."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return list(arguments)
    return [value for argument in arguments for value in _literals(argument)]


def _is_valid(value: Any, expected: inspect.Type) -> bool:
    match expected:
        case inspect.StrType(pattern=pattern):
            return _has_length(value, expected) and (pattern is None or bool(re.search(pattern, value)))
        case inspect.ListType():
            return _has_length(value, expected)
        case inspect.IntType() | inspect.FloatType():
            return _is_within_bounds(value, expected)
        case inspect.LiteralType(values=values):
            return value in values
        case inspect.CustomType() | inspect.DateTimeType():
            return _is_convertible(value, expected)
    return True


def _has_length(value: Sequence[Any], expected: inspect.StrType | inspect.ListType) -> bool:
    least, most = expected.min_length, expected.max_length
    return (least is None or len(value) >= least) and (most is None or len(value) <= most)


def _is_within_bounds(value: float, expected: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (isinstance(expected, inspect.IntType) or _is_double(value))
        and (expected.ge is None or value >= expected.ge)
        and (expected.gt is None or value > expected.gt)
        and (expected.le is None or value <= expected.le)
        and (expected.lt is None or value < expected.lt)
    )


def _is_double(value: float) -> bool:
    """Whether a number is within the range of a double, which msgspec reads numbers as."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_finite(value: Any) -> bool:
    """Whether an untyped value has only finite numbers. Integers have no limit."""
    pending = [value]
    while pending:
        match pending.pop():
            case float() as number if not math.isfinite(number):
                return False
            case dict() as members:
                pending += members.values()
            case list() as items:
                pending += items
    return True


def _is_convertible(value: str, expected: inspect.CustomType | inspect.DateTimeType) -> bool:
    if isinstance(expected, inspect.CustomType):
        target: Any = expected.cls
    else:
        target = Annotated[datetime, Meta(tz=expected.tz)]
    try:
        msgspec.convert(value, target, dec_hook=decode_hook)
    except msgspec.ValidationError:
        return False
    return True


def _describe_all(types: Sequence[inspect.Type], choices: Sequence[str]) -> str:
    # null is left out of the message unless it is the only allowed value, because it means an absent field.
    described = [_describe(each, choices) for each in types if not isinstance(each, inspect.NoneType)]
    return f"must be {' or '.join(dict.fromkeys(described)) or 'null'}"


def _describe(expected: inspect.Type, choices: Sequence[str]) -> str:
    match expected:
        case inspect.StrType(pattern=pattern):
            return f"a string{_length(expected, 'characters')}{_pattern(pattern)}"
        case inspect.ListType():
            return f"an array{_length(expected, 'items')}"
        case inspect.IntType() | inspect.FloatType():
            noun = "an integer" if isinstance(expected, inspect.IntType) else "a number"
            return f"{noun}{_bounds(expected)}"
        case inspect.LiteralType():
            return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        case inspect.DateTimeType(tz=tz):
            return "a time in ISO 8601 with a time zone" if tz else "a time in ISO 8601"
    return _NAMES[type(expected)]


def _length(expected: inspect.StrType | inspect.ListType, unit: str) -> str:
    match expected.min_length, expected.max_length:
        case None, None:
            return ""
        case None, most:
            return f" of at most {most} {unit}"
        case least, None:
            return f" of at least {least} {unit}"
        case least, most:
            return f" of {least} to {most} {unit}"


def _pattern(pattern: str | None) -> str:
    return f" {_PATTERNS.get(pattern, f'that matches {pattern}')}" if pattern else ""


def _bounds(expected: inspect.IntType | inspect.FloatType) -> str:
    if expected.ge is not None and expected.le is not None:
        return f" from {expected.ge} to {expected.le}"
    bounds = {
        "at least": expected.ge,
        "greater than": expected.gt,
        "at most": expected.le,
        "less than": expected.lt,
    }
    named = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
    return f" that is {' and '.join(named)}" if named else ""
