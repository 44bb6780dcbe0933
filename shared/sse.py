"""Decodes server-sent events, and makes heartbeat and padding comments.

Decoding follows the WHATWG standard (HTML, 9.2.6 "Interpreting an event stream"). The data of
an event is not decoded here: its format belongs to providers and dialects.
"""

from msgspec import Struct

HEARTBEAT = b": ping\n\n"

_BOM = b"\xef\xbb\xbf"
# Integers, because `int in bytes` is seven times faster than `bytes in bytes`.
_CR, _LF = b"\r\n"


class ServerSentEvent(Struct, frozen=True, gc=False):
    """One event. `data` is not decoded, because it is passed to a JSON decoder. `id` is the last id that the
    stream has sent, also with an earlier event."""

    event: str = "message"
    data: bytes = b""
    id: str = ""


class SSEError(Exception):
    """A line or an event is longer than the decoder allows. `events` are the complete events before it in the
    same read."""

    def __init__(self, events: list[ServerSentEvent]) -> None:
        super().__init__("a server-sent event is longer than allowed")
        self.events = events


class SSEDecoder:
    """Decodes the bytes of one stream into events. Reads may split the stream at any byte.

    The time is linear in the number of bytes. The decoder holds at most `max_event_bytes` plus one read in
    memory. `retry` is dropped: the application decides when to reconnect.
    """

    def __init__(self, max_event_bytes: int = 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._bom_prefix: bytes | None = b""  # None after the check for a byte order mark
        self._after_cr = False
        self._line = bytearray()  # the last line, which is not complete
        self._event = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._id = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Returns the events that this read completes. Raises SSEError, and cannot be used after that."""
        if self._bom_prefix is not None:
            data = self._without_bom(data)
        if _CR in data or self._after_cr:
            data = self._with_lf_only(data)
        if self._line:
            if _LF not in data:
                return self._keep(data, [])
            data = bytes(self._line) + data
            self._line.clear()
        events: list[ServerSentEvent] = []
        end = data.rfind(b"\n\n")
        if 0 < end <= self._max and not self._data and not self._event:
            events = self._decode_fast(data[:end])
            if events:
                data = data[end + 2 :]
        if data:
            lines = data.split(b"\n")
            unfinished = lines.pop()
            for line in lines:
                self._decode_line(line, events)
            self._keep(unfinished, events)
        return events

    def close(self) -> list[ServerSentEvent]:
        """Returns the event at the end of the stream whose blank line is missing, if there is one.

        The standard drops such an event. Some servers leave out the last line ends, so that the data may be
        complete. The caller must check that.
        """
        events: list[ServerSentEvent] = []
        line = bytes(self._line)
        self._line.clear()
        if line:
            self._decode_line(line, events)
        self._dispatch(events)
        return events

    def _decode_fast(self, data: bytes) -> list[ServerSentEvent]:
        """Decodes `data` if all its events have one of the two usual forms (`data: …`, or `event: …` and
        `data: …`), else returns []. Three times faster than decoding by lines."""
        if data.startswith(b"data: "):
            payloads = data[6:].split(b"\n\ndata: ")
            events = [
                ServerSentEvent("message", payload, self._id) for payload in payloads if _LF not in payload
            ]
            return events if len(events) == len(payloads) else []
        if not data.startswith(b"event: "):
            return []
        events = []
        for block in data[7:].split(b"\n\nevent: "):
            name, _, payload = block.partition(b"\ndata: ")
            if not name or not payload or _LF in name or _LF in payload:
                return []
            events.append(ServerSentEvent(name.decode("utf-8", "replace"), payload, self._id))
        return events

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._bom_prefix or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._bom_prefix = data
            return b""
        self._bom_prefix = None
        return data.removeprefix(_BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        """Replaces CR and CRLF by LF. A CR at the end of a read ends its line at once, because an LF may not
        follow."""
        if not data:
            return data
        after_cr, self._after_cr = self._after_cr, data.endswith(b"\r")
        if after_cr:
            data = data.removeprefix(b"\n")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, unfinished: bytes, events: list[ServerSentEvent]) -> list[ServerSentEvent]:
        self._line += unfinished
        if len(self._line) > self._max:
            raise SSEError(events)
        return events

    def _decode_line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        if len(line) > self._max:
            raise SSEError(events)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._max:
                raise SSEError(events)
        elif field == b"event":
            self._event = _text(value)
        elif field == b"id" and b"\0" not in value:
            self._id = _text(value)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            events.append(ServerSentEvent(self._event or "message", b"\n".join(self._data), self._id))
            self._data = []
            self._data_bytes = 0
        self._event = ""


def padding(size: int) -> bytes:
    """A comment of `size` bytes, at least 3, or nothing for 0. The comment fills the buffer of proxies that
    delay small writes."""
    return b":%b\n\n" % (b" " * (size - 3)) if size > 0 else b""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
