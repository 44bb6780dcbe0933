"""The wire formats that clients use: one file each, one line here."""

from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.chat import Chat
from functions.chat_stream.dialects.chat_stream import ChatStream
from functions.chat_stream.dialects.openai_chat import OpenAIChat
from functions.chat_stream.dialects.stream import Stream
from functions.chat_stream.dialects.stream_chat import StreamChat
from functions.chat_stream.dialects.ui import UIChat

NATIVE = ChatStream()
OPENAI = OpenAIChat()
UI = UIChat()
DIALECTS: tuple[Dialect, ...] = (
    NATIVE,
    StreamChat(),
    Chat(),
    Stream(),
    OPENAI,
    UI,
)
