"""The events of the two formats whose streams are nothing but text.

    data: {"content":"Hello"}
    data: {"error":"Coach is taking a moment. Let's try again."}
    data: [DONE]

`[DONE]` ends a stream that is good as far as it goes, an error ends one that is not.
"""

from collections.abc import Sequence

import msgspec

from functions.chat_stream.dialects.text import encode_text
from shared.errors import TAKING_A_MOMENT
from shared.events import Event, Failed, Finished, TextDelta

_json = msgspec.json.Encoder()
_ERROR = b'data: {"error":%b}\n\n' % _json.encode(TAKING_A_MOMENT)
_DONE = b"data: [DONE]\n\n"


class ContentEncoder:
    def encode(self, events: Sequence[Event]) -> bytes:
        written = []
        for event in events:
            match event:
                case TextDelta():
                    written.append(b'data: {"content":%b}\n\n' % encode_text(event.text))
                case Finished():
                    written.append(_DONE)
                case Failed():
                    written.append(_ERROR)
        return b"".join(written)
