"""An answer's text as it goes into an event: JSON on one line, whoever counts the lines."""

import msgspec

_encode = msgspec.json.Encoder().encode
# The standard ends a line at CR and LF alone, which JSON escapes. Python's `splitlines`, and with it many
# a client, does so here, too.
_LINE_ENDS = tuple(
    (character.encode(), rb"\u%04x" % ord(character)) for character in ("\u0085", "\u2028", "\u2029")
)


def encode_text(text: str) -> bytes:
    encoded = _encode(text)
    if not text.isascii():
        for line_end, escaped in _LINE_ENDS:
            encoded = encoded.replace(line_end, escaped)
    return encoded
