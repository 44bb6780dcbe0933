"""The wire formats that clients speak: one file each, one line here."""

from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.chat_stream import ChatStream

NATIVE = ChatStream()
DIALECTS: tuple[Dialect, ...] = (NATIVE,)
