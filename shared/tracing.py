"""Turns in X-Ray: one datagram for each, to the daemon that Lambda runs beside a traced function.

Loaded only where tracing is on. X-Ray's own SDK keeps its place in a trace per thread, patches
libraries and takes longer to import than the function takes to start; what is known here when a turn
ends is all that it would have gathered.

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
# What can be searched for in X-Ray; ids and times are in the log under the same trace.
_ANNOTATIONS = ("dialect", "status", "code", "provider", "model", "fallbacks", "ttft_ms", "message_id")


class Tracer:
    """`address` is the daemon's, as host:port."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def trace(self) -> "Trace | None":
        """The trace of the invocation under way, if it is one of those that are recorded."""
        given = os.environ.get("_X_AMZN_TRACE_ID", "")
        parts = dict(part.partition("=")[::2] for part in given.split(";"))
        if parts.get("Sampled") != "1" or not parts.get("Root") or not parts.get("Parent"):
            return None
        return Trace(self, parts["Root"], parts["Parent"])

    def send(self, document: Mapping[str, Any]) -> None:
        """Never waits and never fails: a trace that is lost is a trace less."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.settimeout(0)
        with contextlib.suppress(OSError):
            self._socket.sendto(_HEADER + msgspec.json.encode(document), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Trace:
    """One invocation's, to which a turn is added when it is over."""

    def __init__(self, tracer: Tracer, trace_id: str, parent_id: str) -> None:
        self._tracer = tracer
        self._trace_id = trace_id
        self._parent_id = parent_id

    def send(
        self, line: Mapping[str, Any], arrived_at: float, waits: Mapping[str, tuple[float, float]]
    ) -> None:
        """`line` is the turn's in the log; `waits` are `begin`, `model` and `finish`, all in the loop's
        time. What lies between the last two is the answer's."""
        now = asyncio.get_running_loop().time()
        spans = dict(waits)
        if "model" in waits and "finish" in waits:
            spans["answer"] = (waits["model"][1], waits["finish"][0])
        epoch = time.time() - now
        self._tracer.send(
            {
                **_span("turn", arrived_at + epoch, now + epoch),
                "type": "subsegment",
                "trace_id": self._trace_id,
                "parent_id": self._parent_id,
                "fault": line["status"] == "error",
                "annotations": {name: line[name] for name in _ANNOTATIONS if line.get(name) is not None},
                "subsegments": [
                    _span(name, began + epoch, ended + epoch)
                    for name, (began, ended) in sorted(spans.items(), key=lambda span: span[1])
                ],
            }
        )


def _span(name: str, began: float, ended: float) -> dict[str, Any]:
    return {"name": name, "id": secrets.token_hex(8), "start_time": began, "end_time": ended}
