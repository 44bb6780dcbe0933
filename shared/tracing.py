"""Sends one X-Ray segment for each turn, as a UDP datagram, to the daemon that Lambda runs for a traced
function.

Imported only if tracing is on. X-Ray's SDK is not used: it keeps its state per thread, patches libraries,
and its import takes longer than the start of the function. At the end of a turn this module has all the data
that the SDK would have collected.

Sources: AWS, "X-Ray segment documents" and "Sending segment documents to the X-Ray daemon".
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Any

import msgspec

_HEADER = b'{"format": "json", "version": 1}\n'
# The fields that can be searched in X-Ray. The log has all fields under the same trace id.
_ANNOTATIONS = ("dialect", "status", "code", "provider", "model", "fallbacks", "ttft_ms", "message_id")


class Tracer:
    """`address` is the address of the X-Ray daemon, as host:port."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def trace(self) -> "Trace | None":
        """The trace of this invocation. None if X-Ray does not sample it, or the header is incomplete."""
        trace_header = os.environ.get("_X_AMZN_TRACE_ID", "")
        parts = dict(part.partition("=")[::2] for part in trace_header.split(";"))
        if parts.get("Sampled") != "1" or not parts.get("Root") or not parts.get("Parent"):
            return None
        return Trace(self, parts["Root"], parts["Parent"])

    def send(self, document: Mapping[str, Any]) -> None:
        """Never waits and never raises. A trace that cannot be sent is dropped."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.settimeout(0)
        with contextlib.suppress(OSError):
            self._socket.sendto(_HEADER + msgspec.json.encode(document), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Trace:
    """The trace of one invocation. A turn is added to the trace when the turn is over."""

    def __init__(self, tracer: Tracer, trace_id: str, parent_id: str) -> None:
        self._tracer = tracer
        self._trace_id = trace_id
        self._parent_id = parent_id

    def send(
        self, line: Mapping[str, Any], arrived_at: float, waits: Mapping[str, tuple[float, float]]
    ) -> None:
        """`line` has the fields of the turn's log line. `waits` has the start and the end of `begin`, `model`
        and `finish`, in the event loop's time. The time between `model` and `finish` is the span `answer`."""
        now = asyncio.get_running_loop().time()
        spans = dict(waits)
        if "model" in waits and "finish" in waits:
            spans["answer"] = (waits["model"][1], waits["finish"][0])
        to_epoch = time.time() - now
        self._tracer.send(
            {
                **_span("turn", arrived_at + to_epoch, now + to_epoch),
                "type": "subsegment",
                "trace_id": self._trace_id,
                "parent_id": self._parent_id,
                "fault": line["status"] == "error",
                "annotations": {name: line[name] for name in _ANNOTATIONS if line.get(name) is not None},
                "subsegments": [
                    _span(name, started_at + to_epoch, ended_at + to_epoch)
                    for name, (started_at, ended_at) in sorted(spans.items(), key=lambda span: span[1])
                ],
            }
        )


def _span(name: str, started_at: float, ended_at: float) -> dict[str, Any]:
    return {"name": name, "id": secrets.token_hex(8), "start_time": started_at, "end_time": ended_at}
