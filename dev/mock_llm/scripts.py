"""The scripts of the mock: the text of an answer and its faults. The package's docstring has the syntax."""

import re
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct

Fault = Literal[
    "no-headers",
    "no-body",
    "hang",
    "pings",
    "error",
    "bad-json",
    "truncate",
    "cut",
    "reset",
    "endless-line",
    "html",
    "error-body",
]
SWITCHES = ("odd", "obey", "crlf", "whole", "parts", "tags", "no-end")
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]

# Some characters have several bytes, so that a chunk can end inside a character.
LOREM = """
Lorem ipsum dolor sit amet, consectetur adipiscing élit, sed do 日本語 eiusmod tempor incididunt ut
labore 🦉 et dolore magna aliqua. Ut enim ad minim veniam, quis naïve nostrud exercitation ullamco.
"""
WORDS = tuple(LOREM.split())
ODD_WORDS = (
    "nul\x00",
    "lone\ud800",
    "separator\u2028",
    "next\x85",
    'quote"',
    "back\\slash",
    "two\n\nlines\r\n",
    "data:",
    "[DONE]",
    "</script>",
)


class ScriptError(ValueError):
    """The script has an unknown option or a value out of range. The message names it."""


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The behaviour of a model. Times are in seconds. `input` is the prompt, including cached tokens."""

    tokens: Count = 20
    text: str | None = None
    odd: bool = False
    obey: bool = False
    letters: Count = 0
    thinking: Count = 0
    finish: str = "stop"
    usage: Literal["default", "end", "every", "none", "zero"] = "default"
    input: Count = 12
    cached: Count = 0
    cache_write: Count = 0
    headers: Seconds = 0
    first: Seconds = 0
    gap: Seconds = 0
    coalesce: Annotated[int, Meta(ge=1)] = 1
    chunk: Count = 0
    crlf: bool = False
    encoding: Literal["identity", "gzip", "deflate"] = "identity"
    whole: bool = False
    parts: bool = False
    tags: bool = False
    no_end: bool = msgspec.field(default=False, name="no-end")
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    retry_after: str | None = None
    context: Count = 0
    filter: str | None = None
    fault: Fault | None = None
    after: Count = 3
    fail: Count = 0

    def __post_init__(self) -> None:
        if self.cached + self.cache_write > self.input:
            raise ValueError("input includes cached and cache_write")
        if self.fault and self.encoding != "identity":
            raise ValueError("a fault is never compressed")

    @property
    def output(self) -> int:
        """The number of tokens of the whole answer, including reasoning."""
        return self.thinking + len(answer_tokens(self))

    def healthy(self) -> "Script":
        """The same script without its fault."""
        return msgspec.structs.replace(self, status=200, fault=None)


def answer_text(script: Script | str) -> str:
    """The whole text of the answer, without a fault."""
    return "".join(answer_tokens(_script(script)))


def partial_text(script: Script | str) -> str:
    """The text sent before the script's fault."""
    script = _script(script)
    return "".join(answer_tokens(script)[: script.after])


def thinking_text(script: Script | str) -> str:
    """The reasoning before the text, in formats that send it."""
    return "".join(thinking_tokens(_script(script)))


def tagged_thinking_tokens(script: Script) -> tuple[str, ...]:
    """The reasoning of a server that sends it inside the text, with its tags."""
    return ("<think>", *thinking_tokens(script), "</think>", "\n\n") if script.tags else ()


def parse(text: str) -> Script:
    """Parses `option=value,word&...` or a JSON object. Raises ScriptError."""
    try:
        options = msgspec.json.decode(text, type=dict[str, Any]) if text.startswith("{") else _options(text)
        for name in ("headers", "first", "gap"):
            if isinstance(options.get(name), str):
                options[name] = _seconds(options[name])
        if options.get("fail") and not {"status", "fault"} & options.keys():
            options["status"] = 500
        return msgspec.convert(options, Script, strict=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ScriptError(f"mock script: {error}") from error


def choose(model: str, header: str | None = None) -> Script:
    """Returns the script in the header, the script in the model's name, or the default script.

    The part after the colon is a script if it looks like one (in `llama3.2:1b` it does not). If the name is
    `mock`, it is always a script, so that a mistyped script is refused. Raises ScriptError.
    """
    if header is not None:
        return parse(header)
    name, _, tail = model.rpartition(":")
    first = re.split("[,&]", tail)[0]
    is_script = "=" in tail or re.fullmatch(r"\d{3}", first) or first in get_args(Fault) + SWITCHES
    return parse(tail) if name == "mock" or (name and is_script) else Script()


def obey(script: Script, question: str) -> Script:
    """Returns the script in a question to a model with `obey`, or a script that repeats the question.

    Raises ScriptError.
    """
    if question.startswith("mock:"):
        return parse(question.removeprefix("mock:"))
    return msgspec.structs.replace(script, text=question)


@lru_cache(maxsize=64)
def answer_tokens(script: Script) -> tuple[str, ...]:
    if script.text is not None and script.letters:
        return tuple(
            script.text[at : at + script.letters] for at in range(0, len(script.text), script.letters)
        )
    if script.text is not None:
        return tuple(re.findall(r"\s*\S+|\s+$", script.text))
    return _repeat_words(ODD_WORDS if script.odd else WORDS, script.tokens)


def thinking_tokens(script: Script) -> tuple[str, ...]:
    return _repeat_words(WORDS[::-1], script.thinking)


def _repeat_words(words: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple((" " if i else "") + words[i % len(words)] for i in range(count))


def _script(script: Script | str) -> Script:
    return parse(script) if isinstance(script, str) else script


def _options(text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for item in filter(None, re.split("[,&]", text)):
        name, equals, value = item.partition("=")
        if equals:
            options[name] = unquote(value)
        elif name.isdigit():
            options["status"] = name
        elif name in SWITCHES:
            options[name] = True
        else:
            options["fault"] = name
    return options


def _seconds(text: str) -> float:
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.removesuffix("s"))
