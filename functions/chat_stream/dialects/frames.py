"""Encodes the events of a server-sent event stream, and JSON strings for the data of an event.

Source: WHATWG HTML, 9.2 "Server-sent events".
"""

import msgspec

from shared.errors import TAKING_A_MOMENT

to_json = msgspec.json.Encoder().encode

# The message that the user sees when an answer fails, as a JSON string.
TAKING_A_MOMENT_JSON = to_json(TAKING_A_MOMENT)

# The standard ends a line only at CR and LF, which JSON escapes. Some clients split lines with Python's
# `str.splitlines`, which also splits at these three characters.
_LINE_ENDS = tuple(
    (character.encode(), rb"\u%04x" % ord(character)) for character in ("\u0085", "\u2028", "\u2029")
)


def frame(data: bytes, *, event: bytes = b"", id: bytes = b"") -> bytes:  # noqa: A002 (the field's name)
    """One event. `data` is one line. An empty `event` or `id` is left out.

    Can also make a template with placeholders, for example `frame(b"%b", id=b"%d")`.
    """
    event_line = b"event: %b\n" % event if event else b""
    id_line = b"id: %b\n" % id if id else b""
    return b"%b%bdata: %b\n\n" % (event_line, id_line, data)


def frame_template(before: bytes, after: bytes, *, event: bytes = b"") -> tuple[bytes, bytes]:
    """The bytes of an event before and after its text, for events that differ only in their text."""
    start, _, end = frame(before + b"\0" + after, event=event).partition(b"\0")
    return start, end


def json_text(text: str) -> bytes:
    """A JSON string without characters at which any client splits lines."""
    encoded = to_json(text)
    if not text.isascii():
        for line_end, escaped in _LINE_ENDS:
            encoded = encoded.replace(line_end, escaped)
    return encoded
