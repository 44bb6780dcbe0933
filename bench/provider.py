"""A mock model provider that takes little CPU: it prepares its streams in OpenAI's format in advance.

`dev.mock_llm` has all formats and faults. This provider is for measuring the servers that call it. The last
question of a request contains a script:

    say:words-200-0.        200 words, without pauses
    say:stamps-200-13245.   200 time stamps, one every 13,245 µs; each is the time at which it is sent, so
                            that a client on this machine can calculate the delay
"""

import argparse
import heapq
import select
import socket
import sys
import time
from collections import deque
from functools import lru_cache

from dev.mock_llm.openai_format import OpenAI
from dev.mock_llm.scripts import Script
from dev.mock_llm.wire import ChatRequest

# About as many events as one read from a fast provider contains.
WORDS_IN_A_WRITE = 8
WORD = "calm"
# A time in µs with a fixed number of digits, so that the sizes of the chunks are known in advance.
STAMP = "~%016d"

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_REFUSAL = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_END = b"0\r\n\r\n"


class Answer:
    """The bytes of each write of one answer, and the seconds between the writes."""

    def __init__(self, script: str) -> None:
        kind, tokens, pause = script.split("-")
        self.pause = int(pause) / 1_000_000
        self._stamped = kind == "stamps"
        # The words differ, because some proxies treat a repeated word as a fault of the model.
        words = " ".join(STAMP if self._stamped else f"{WORD}{number % 10}" for number in range(int(tokens)))
        answer = OpenAI().answer(ChatRequest("bench", Script(text=words, input=100), include_usage=True))
        per_write = 1 if self.pause or self._stamped else WORDS_IN_A_WRITE
        text = answer.text
        groups = [text[start : start + per_write] for start in range(0, len(text), per_write)]
        writes = [_chunk(b"".join(events)) for events in groups]
        writes[0] = _HEAD + _chunk(b"".join(answer.opening)) + writes[0]
        self._writes = (*writes, _chunk(b"".join(answer.end)) + _END)

    def __len__(self) -> int:
        return len(self._writes)

    def write(self, number: int) -> bytes:
        data = self._writes[number]
        if self._stamped and number < len(self) - 1:
            return data % (time.monotonic_ns() // 1000)
        return data


class Client:
    """One connection, and the state of its answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request = b""
        self.unsent = b""
        self.answer: Answer | None = None
        self.written = 0
        self.due = 0.0

    def receive(self, data: bytes) -> bool:
        """Adds received bytes to the request. Returns True when the request is complete. Then `answer` is its
        answer, or None if the request is refused."""
        self.request += data
        head, end, body = self.request.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length or 0):
            return False
        self.answer = _answer_to(body) if b"/chat/completions" in head.partition(b"\r\n")[0] else None
        self.request, self.written = b"", 0
        return True

    def send(self, data: bytes = b"") -> bool:
        """Sends as much as the socket accepts. Returns whether everything is sent."""
        data = self.unsent + data
        try:
            sent = self.connection.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = data[sent:]
        return not self.unsent


class Provider:
    """An event loop with epoll, because asyncio would take a large part of the measured time."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        self._ready: deque[Client] = deque()
        self._paced: list[tuple[float, int, Client]] = []

    def serve(self) -> None:
        while True:
            for descriptor, event in self._poll.poll(self._poll_timeout()):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif event & select.EPOLLOUT:
                    self._resume(self._clients[descriptor])
                else:
                    self._read(self._clients[descriptor])
            now = time.monotonic()
            while self._paced and self._paced[0][0] <= now:
                self._write(heapq.heappop(self._paced)[2])
            for _ in range(len(self._ready)):
                self._write(self._ready.popleft())

    def _poll_timeout(self) -> float:
        if self._ready:
            return 0
        return max(0, self._paced[0][0] - time.monotonic()) if self._paced else -1

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[connection.fileno()] = Client(connection)
        self._poll.register(connection, select.EPOLLIN)

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(1024 * 1024)
        except OSError:
            data = b""
        if not data:
            self._disconnect(client)
        elif client.receive(data):
            if client.answer is None:
                client.send(_REFUSAL)
                return
            client.due = time.monotonic()
            self._write(client)

    def _write(self, client: Client) -> None:
        if client.answer is None:
            return  # the client has disconnected
        try:
            all_sent = client.send(client.answer.write(client.written))
        except OSError:
            self._disconnect(client)
            return
        client.written += 1
        if all_sent:
            self._schedule_next_write(client)
        else:
            self._poll.modify(client.connection, select.EPOLLOUT)

    def _resume(self, client: Client) -> None:
        try:
            all_sent = client.send()
        except OSError:
            self._disconnect(client)
            return
        if all_sent:
            self._poll.modify(client.connection, select.EPOLLIN)
            self._schedule_next_write(client)

    def _schedule_next_write(self, client: Client) -> None:
        if client.answer is None or client.written == len(client.answer):
            client.answer = None
        elif client.answer.pause:
            # The times of all writes are fixed at the start, so that load does not slow down the pace.
            client.due += client.answer.pause
            heapq.heappush(self._paced, (client.due, id(client), client))
        else:
            self._ready.append(client)

    def _disconnect(self, client: Client) -> None:
        client.answer = None
        if self._clients.pop(client.connection.fileno(), None):
            self._poll.unregister(client.connection)
            client.connection.close()


def question(script: str) -> str:
    """A question to which the provider answers with the script."""
    return f"How do I fall asleep when my head is full of tomorrow? say:{script}."


def _answer_to(body: bytes) -> Answer:
    return _prepared(body.rpartition(b"say:")[2].partition(b".")[0].decode())


_prepared = lru_cache(Answer)


def _chunk(data: bytes) -> bytes:
    # The placeholder STAMP is not as long as the time stamp that replaces it.
    return b"%x\r\n%b\r\n" % (len(data.replace(STAMP.encode(), b"~" + bytes(16))), data)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    provider = Provider(parser.parse_args(arguments).port)
    print(f"ready http://127.0.0.1:{provider.port}", flush=True)
    provider.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
