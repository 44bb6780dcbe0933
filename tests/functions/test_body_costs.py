"""A body is parsed before any limit is checked, so the CPU time must grow in proportion to its size."""

import contextlib
import gc
import time
from collections.abc import Callable
from functools import partial

import pytest

from functions.chat_stream.dialects import DIALECTS
from functions.conversations import archive, schemas
from shared.errors import ChatError
from shared.json_bodies import decode

PARSERS: dict[str, Callable[[bytes], object]] = {
    **{dialect.route: dialect.parse for dialect in DIALECTS},
    "import": partial(decode, struct=archive.Archive),
    "message": partial(decode, struct=schemas.NewMessage),
}


def repeat(text: str, size: int) -> str:
    return text * (size // len(text))


def items(text: str, size: int) -> str:
    return ",".join([text] * (size // (len(text) + 1)))


def names(size: int, *, distinct: bool) -> str:
    count = size // 13
    return "{" + ",".join(f'"{index if distinct else index // 2:08}":1' for index in range(count)) + "}"


# For each shape: a body of about `size` bytes. Some of them are valid for one route only.
SHAPES: dict[str, Callable[[int], str]] = {
    "many names": partial(names, distinct=True),
    "many names, the last one twice": lambda size: (
        names(size, distinct=True)[:-1] + f',"{size // 13 - 1:08}":1' + "}"
    ),
    "each name twice": partial(names, distinct=False),
    "one name many times": lambda size: "{" + items('"a":1', size) + "}",
    "nested arrays": lambda size: '{"a":' + "[" * (size // 2) + "]" * (size // 2) + "}",
    "nested objects": lambda size: repeat('{"a":', size // 2) + "1" + "}" * (size // 10),
    "nested arrays side by side": lambda size: '{"a":[' + items("[" * 500 + "]" * 500, size) + "]}",
    "one long integer": lambda size: '{"a":' + "9" * size + "}",
    "long integers": lambda size: '{"a":[' + items("9" * 4_000, size) + "]}",
    "one long fraction": lambda size: '{"temperature":0.' + "9" * size + "}",
    "long fractions": lambda size: '{"a":[' + items("0." + "9" * 800, size) + "]}",
    "a long exponent": lambda size: '{"temperature":1e-' + "0" * size + "1}",
    "short escapes": lambda size: '{"message":"' + repeat("\\n", size) + '"}',
    "unicode escapes": lambda size: '{"message":"' + repeat("\\u00e9", size) + '"}',
    "surrogate pairs": lambda size: '{"message":"' + repeat("\\ud83d\\ude00", size) + '"}',
    "half surrogate pairs": lambda size: '{"message":"' + repeat("\\ud83d", size) + '"}',
    "array items": lambda size: '{"a":[' + items("1", size) + "]}",
    "texts": lambda size: '{"messages":[' + items('"a"', size) + "]}",
    "empty objects": lambda size: '{"messages":[' + items("{}", size) + "]}",
    "messages": lambda size: '{"messages":[' + items('{"role":"user","content":"a"}', size) + "]}",
    "messages, the last one invalid": lambda size: (
        '{"messages":[' + items('{"role":"user","content":"a"}', size) + ',{"role":"user","content":1}]}'
    ),
    "parts, the last one invalid": lambda size: (
        '{"id":"a","messages":[{"role":"user","parts":['
        + items('{"type":"text","text":"a"}', size)
        + ',{"type":"text","text":1}]}]}'
    ),
    "metadata": lambda size: '{"role":"user","content":"a","metadata":' + names(size, distinct=True) + "}",
    "one long text": lambda size: '{"message":"' + "a" * size + '"}',
    "one long blank text": lambda size: '{"message":"' + " " * size + '"}',
    "letters of two bytes": lambda size: '{"message":"' + "é" * (size // 2) + '"}',
    "blanks around the body": lambda size: " " * size + "{}",
    "not closed": lambda size: '{"message":"' + "\\" * size,
}
SIZE = 90_000
# Below this time the measurement is mostly noise. A quadratic parser takes far longer for 180 KB.
NOISE_SECONDS = 0.002


def seconds(parse: Callable[[bytes], object], body: bytes) -> float:
    started = time.process_time()
    with contextlib.suppress(ChatError):
        parse(body)
    return time.process_time() - started


def best_times(parse: Callable[[bytes], object], bodies: tuple[bytes, bytes]) -> list[float]:
    """The shortest of several times for each body, measured in turns."""
    rounds = [[seconds(parse, body) for body in bodies] for _ in range(5)]
    return [min(times) for times in zip(*rounds, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_body_of_twice_the_size_takes_at_most_two_and_a_half_times_the_cpu_time(shape):
    bodies = (SHAPES[shape](SIZE).encode(), SHAPES[shape](2 * SIZE).encode())
    gc.collect()
    gc.disable()  # a collection depends on what other tests left in memory
    try:
        for parser, parse in PARSERS.items():
            small, large = best_times(parse, bodies)
            assert large <= 2.5 * small + NOISE_SECONDS, parser
    finally:
        gc.enable()
