"""Writes the frames of an event stream, and text as JSON within them.

Source: WHATWG HTML, 9.2 "Server-sent events".
"""

import msgspec

from shared.errors import TAKING_A_MOMENT

to_json = msgspec.json.Encoder().encode

# The user's sentence for an answer that breaks off, as a JSON string.
TAKING_A_MOMENT_JSON = to_json(TAKING_A_MOMENT)

# The standard ends a line only at CR and LF, which JSON escapes. Some clients use Python's `str.splitlines`,
# which ends a line at these too.
_LINE_ENDS = tuple(
    (character.encode(), rb"\u%04x" % ord(character)) for character in ("\u0085", "\u2028", "\u2029")
)


def frame(data: bytes, *, event: bytes = b"", id: bytes = b"") -> bytes:  # noqa: A002 (the field's name)
    """One event. `data` is one line of JSON or a word; `event` and `id` are left out where they are empty.

    Also makes templates: `frame(b"%b", id=b"%d")` is to be formatted with an id and the data.
    """
    event_line = b"event: %b\n" % event if event else b""
    id_line = b"id: %b\n" % id if id else b""
    return b"%b%bdata: %b\n\n" % (event_line, id_line, data)


def frame_around(before: bytes, after: bytes, *, event: bytes = b"") -> tuple[bytes, bytes]:
    """What stands before and after the text in events that differ in their text only."""
    start, _, end = frame(before + b"\0" + after, event=event).partition(b"\0")
    return start, end


def json_text(text: str) -> bytes:
    """A JSON string on one line, for every client's idea of a line."""
    encoded = to_json(text)
    if not text.isascii():
        for line_end, escaped in _LINE_ENDS:
            encoded = encoded.replace(line_end, escaped)
    return encoded
