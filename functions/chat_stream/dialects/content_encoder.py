"""Encodes the events of the dialects whose streams contain only text.

    data: {"content":"Hello"}
    data: {"error":"Coach is taking a moment. Let's try again."}
    data: [DONE]

The last event is `[DONE]`, or the error if the answer failed.
"""

from collections.abc import Sequence
from typing import Any

from functions.chat_stream.dialects.base import event_stream
from functions.chat_stream.dialects.frames import TAKING_A_MOMENT_JSON, frame, json_text
from shared.events import Event, Failed, Finished, TextDelta

_CONTENT = frame(b'{"content":%b}')
_ERROR = frame(b'{"error":%b}' % TAKING_A_MOMENT_JSON)
_DONE = frame(b"[DONE]")


def _event_types() -> tuple[Any, ...]:
    from functions.chat_stream import openapi_types as types  # noqa: PLC0415 (only OpenAPI needs them)

    return types.ContentEvent, types.ContentErrorEvent


CONTENT_EVENTS = event_stream(_event_types, last_data="[DONE]", format_docs=__doc__)


class ContentEncoder:
    def encode(self, events: Sequence[Event]) -> bytes:
        frames = []
        for event in events:
            match event:
                case TextDelta():
                    frames.append(_CONTENT % json_text(event.text))
                case Finished():
                    frames.append(_DONE)
                case Failed():
                    frames.append(_ERROR)
        return b"".join(frames)
