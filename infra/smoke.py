"""Whether a deployment does what it is for: `make smoke URL=https://…`.

As a user of its own, it has one real turn, stops another, cuts a third and reads it on, and finds all of
it in the history and the report of costs; then it deletes the conversation. Three answers of a model are
what that costs.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from httpx_sse import EventSource

from infra.deployment import DeploymentError, named

# Long enough to be stopped, and to be cut, before it ends.
_QUESTION = "Write the numbers from one to two hundred as words, one after the other."
_ENOUGH_CHUNKS = 3
_TIMEOUT = 60.0


class SmokeFailed(Exception):
    """A step found something else than it should; the sentence says what."""


@dataclass
class Answer:
    """What a stream gave so far. `offset` is what Last-Event-ID wants to read it on."""

    id: str
    conversation_id: str
    chunks: list[str] = field(default_factory=list)
    offset: str = "0"
    end: dict[str, Any] | None = None
    first_after: float = 0.0

    @property
    def text(self) -> str:
        return "".join(self.chunks)


class Smoke:
    def __init__(self, client: httpx.Client, say: Callable[[str], None] = print) -> None:
        self._client = client
        self._say = say

    def run(self) -> None:
        """Raises SmokeFailed at the first step that fails."""
        self._step("health", self._health)
        whole = self._step("turn", self._turn)
        conversation = whole.conversation_id
        try:
            stopped = self._step("stop", lambda: self._stop(conversation))
            resumed = self._step("resume", lambda: self._resume(conversation))
            self._step("history", lambda: self._history(conversation, [whole, stopped, resumed]))
            self._step("cost", lambda: self._cost(conversation))
        finally:
            self._client.delete(f"/api/chat/conversations/{conversation}")

    def _step(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            found, words = work()
        except SmokeFailed as error:
            raise SmokeFailed(f"{name}: {error}") from None
        except httpx.HTTPError as error:
            raise SmokeFailed(f"{name}: {type(error).__name__} {error}") from None
        self._say(f"ok  {name:8} {words}")
        return found

    def _health(self) -> tuple[None, str]:
        began = time.monotonic()
        self._get("/health")
        return None, f"{time.monotonic() - began:.2f} s"

    def _turn(self) -> tuple[Answer, str]:
        with self._asked("Say in one sentence what sleep is good for.") as (answer, events):
            _read(answer, events)
        _expect(answer.end is not None and answer.end.get("type") == "done", f"it ended in {answer.end}")
        _expect(bool(answer.text), "the answer is empty")
        words = f"{len(answer.chunks)} chunks, the first after {answer.first_after:.2f} s"
        return answer, words

    def _stop(self, conversation: str) -> tuple[Answer, str]:
        with self._asked(_QUESTION, conversation) as (answer, events):
            _read(answer, events, until=_ENOUGH_CHUNKS)
            stopping = self._client.post(f"/api/chat/messages/{answer.id}/cancel")
            _expect(stopping.is_success, f"the stop was answered with {stopping.status_code}")
            began = time.monotonic()
            _read(answer, events)
        reason = (answer.end or {}).get("finishReason")
        _expect(reason == "cancelled", f"it ended in {answer.end}, and not as stopped")
        return answer, f"{time.monotonic() - began:.2f} s after it was asked for"

    def _resume(self, conversation: str) -> tuple[Answer, str]:
        with self._asked(_QUESTION, conversation) as (answer, events):
            _read(answer, events, until=_ENOUGH_CHUNKS)
        cut = len(answer.text)
        with self._client.stream(
            "GET", f"/api/chat/messages/{answer.id}/stream", headers={"last-event-id": answer.offset}
        ) as response:
            _expect(response.status_code == 200, f"answered with {response.status_code}")
            _read(answer, _events(response))
        _expect((answer.end or {}).get("type") == "done", f"it ended in {answer.end}")
        return answer, f"cut after {cut} characters, {len(answer.text) - cut} more came"

    def _history(self, conversation: str, answers: list[Answer]) -> tuple[None, str]:
        page = self._get(f"/api/chat/conversations/{conversation}/messages")
        stored = {message["id"]: message for message in page["messages"]}
        for answer in answers:
            _expect(answer.id in stored, "an answer is not in the history")
            _expect(
                stored[answer.id]["content"] == answer.text,
                "an answer in the history is not what was streamed",
            )
        statuses = [stored[answer.id]["status"] for answer in answers]
        _expect(statuses == ["complete", "cancelled", "complete"], f"the answers are {', '.join(statuses)}")
        return None, f"{len(stored)} messages, {', '.join(statuses)}"

    def _cost(self, conversation: str) -> tuple[None, str]:
        rows = self._get("/api/chat/usage", group_by="conversation")["rows"]
        row = next((row for row in rows if row.get("conversation_id") == conversation), None)
        _expect(row is not None, "nothing was written down for the conversation")
        assert row is not None
        _expect(row["tokens_in"] > 0 and row["tokens_out"] > 0, "no tokens were counted")
        usd = Decimal(row["cost_usd"])
        return None, f"{row['tokens_in']} tokens in, {row['tokens_out']} out, {usd:.6f} USD"

    @contextmanager
    def _asked(
        self, question: str, conversation: str | None = None
    ) -> Iterator[tuple[Answer, Iterator[Any]]]:
        body = {"message": question} | ({"conversationId": conversation} if conversation else {})
        began = time.monotonic()
        with self._client.stream("POST", "/chat-stream", json=body) as response:
            if response.status_code != 200:
                raise SmokeFailed(_refused(response))
            answer = Answer(response.headers["x-message-id"], response.headers["x-conversation-id"])
            events = _events(response)
            _read(answer, events, until=1)
            answer.first_after = time.monotonic() - began
            yield answer, events

    def _get(self, path: str, **query: str) -> Any:
        response = self._client.get(path, params=query)
        if response.status_code != 200:
            raise SmokeFailed(_refused(response))
        return response.json()


def _events(response: httpx.Response) -> Iterator[Any]:
    return EventSource(response).iter_sse()


def _read(answer: Answer, events: Iterator[Any], *, until: int | None = None) -> None:
    """Reads on to the end, or until there are so many chunks."""
    while answer.end is None and (until is None or len(answer.chunks) < until):
        event = next(events, None)
        _expect(event is not None, "the stream broke off")
        assert event is not None
        data = json.loads(event.data)
        if data["type"] == "token":
            answer.chunks.append(data["content"])
            answer.offset = event.id
        elif data["type"] in {"done", "error"}:
            answer.end = data


def _refused(response: httpx.Response) -> str:
    response.read()
    try:
        code = response.json().get("code", "")
    except ValueError:
        code = ""
    return f"answered with {response.status_code} {code}".rstrip()


def _expect(held: bool, otherwise: str) -> None:  # noqa: FBT001 (what is asserted)
    if not held:
        raise SmokeFailed(otherwise)


def _anonymous(client: httpx.Client) -> str:
    response = client.post("/auth/anonymous", json={})
    if response.status_code == 403:
        raise SmokeFailed("anonymous sign-in is off there: TOKEN=… is needed")
    if not response.is_success:
        raise SmokeFailed(f"sign-in: {_refused(response)}")
    return str(response.json()["token"])


def main(url: str, token: str | None = None) -> int:
    with httpx.Client(base_url=url, timeout=_TIMEOUT, follow_redirects=True) as client:
        try:
            client.headers["authorization"] = f"Bearer {token or _anonymous(client)}"
            Smoke(client).run()
        except SmokeFailed as error:
            print(f"FAILED  {error}", file=sys.stderr)
            return 1
        except httpx.HTTPError as error:
            print(f"FAILED  {url} cannot be reached: {type(error).__name__}", file=sys.stderr)
            return 1
    print(f"{url} works")
    return 0


def _asked_for(arguments: list[str]) -> int:
    """A URL, or the name of a deployment, whose URL and token AWS is asked for."""
    token = os.environ.get("TOKEN")
    if len(arguments) == 1 and arguments[0].startswith(("http://", "https://")):
        return main(arguments[0], token)
    if len(arguments) == 1 and arguments[0]:
        try:
            deployment = named(arguments[0])
            return main(deployment.outputs()["Url"], token or deployment.token())
        except (DeploymentError, BotoCoreError, ClientError) as error:
            print(error, file=sys.stderr)
            return 2
    print(
        "make smoke URL=https://… (TOKEN=…, else an anonymous user), or make smoke ENV=dev", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(_asked_for(sys.argv[1:]))
