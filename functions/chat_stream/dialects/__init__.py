"""The wire formats that clients speak: one file each, one line here."""

from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.chat_stream import ChatStream

NATIVE = ChatStream()
UI: Dialect = NATIVE  # until it is there
OPENAI: Dialect = NATIVE  # until it is there
DIALECTS: tuple[Dialect, ...] = (NATIVE,)
