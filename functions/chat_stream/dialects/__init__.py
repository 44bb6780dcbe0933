"""The dialects: the formats of the front ends. Each has one file, and one line in DIALECTS."""

from functions.chat_stream.dialects.ai_sdk import AISDKDialect
from functions.chat_stream.dialects.base import Dialect
from functions.chat_stream.dialects.named_events import NamedEventsDialect
from functions.chat_stream.dialects.native import NativeDialect
from functions.chat_stream.dialects.openai_chat import OpenAIChatDialect
from functions.chat_stream.dialects.stateless import StatelessDialect
from functions.chat_stream.dialects.web_app import WebAppDialect

NATIVE = NativeDialect()
OPENAI = OpenAIChatDialect()
AI_SDK = AISDKDialect()
DIALECTS: tuple[Dialect, ...] = (
    NATIVE,
    StatelessDialect(),
    WebAppDialect(),
    NamedEventsDialect(),
    OPENAI,
    AI_SDK,
)
