"""Checks a deployment with real turns: `make smoke URL=https://…`.

As a new user it runs one turn, stops a second, and disconnects from a third and resumes it. Then it compares
the message history and the usage report, and deletes the conversation. It costs three answers of a model.
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

from infra.deployment import DeploymentError, load_deployment

# The answer is long, so that it can be stopped or interrupted before its end.
_LONG_QUESTION = "Write the numbers from one to two hundred as words, one after the other."
_CHUNKS_BEFORE_STOP = 3
_TIMEOUT = 60.0


class SmokeFailed(Exception):
    """A step failed. The message says what was wrong."""


@dataclass
class Answer:
    """The received part of an answer. `offset` is the id of the last event, for `Last-Event-ID`.
    `first_after` is the time to the first chunk in seconds."""

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
    def __init__(self, client: httpx.Client, report: Callable[[str], None] = print) -> None:
        self._client = client
        self._report = report

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
            result, summary = work()
        except SmokeFailed as error:
            raise SmokeFailed(f"{name}: {error}") from None
        except httpx.HTTPError as error:
            raise SmokeFailed(f"{name}: {type(error).__name__} {error}") from None
        self._report(f"ok  {name:8} {summary}")
        return result

    def _health(self) -> tuple[None, str]:
        began = time.monotonic()
        self._get("/health")
        return None, f"{time.monotonic() - began:.2f} s"

    def _turn(self) -> tuple[Answer, str]:
        with self._ask("Say in one sentence what sleep is good for.") as (answer, events):
            _read(answer, events)
        _expect(
            answer.end is not None and answer.end.get("type") == "done", f"the answer ended with {answer.end}"
        )
        _expect(bool(answer.text), "the answer is empty")
        return answer, f"{len(answer.chunks)} chunks, the first after {answer.first_after:.2f} s"

    def _stop(self, conversation: str) -> tuple[Answer, str]:
        with self._ask(_LONG_QUESTION, conversation) as (answer, events):
            _read(answer, events, until=_CHUNKS_BEFORE_STOP)
            response = self._client.post(f"/api/chat/messages/{answer.id}/cancel")
            _expect(response.is_success, f"the stop request was answered with {response.status_code}")
            began = time.monotonic()
            _read(answer, events)
        reason = (answer.end or {}).get("finishReason")
        _expect(reason == "cancelled", f"the answer ended with {answer.end}, and was not stopped")
        return answer, f"{time.monotonic() - began:.2f} s after the request"

    def _resume(self, conversation: str) -> tuple[Answer, str]:
        with self._ask(_LONG_QUESTION, conversation) as (answer, events):
            _read(answer, events, until=_CHUNKS_BEFORE_STOP)
        received = len(answer.text)
        with self._client.stream(
            "GET", f"/api/chat/messages/{answer.id}/stream", headers={"last-event-id": answer.offset}
        ) as response:
            _expect(response.status_code == 200, f"answered with {response.status_code}")
            _read(answer, _events(response))
        _expect((answer.end or {}).get("type") == "done", f"the answer ended with {answer.end}")
        return (
            answer,
            f"disconnected after {received} characters, received {len(answer.text) - received} more",
        )

    def _history(self, conversation: str, answers: list[Answer]) -> tuple[None, str]:
        page = self._get(f"/api/chat/conversations/{conversation}/messages")
        stored = {message["id"]: message for message in page["messages"]}
        for answer in answers:
            _expect(answer.id in stored, "an answer is not in the history")
            _expect(
                stored[answer.id]["content"] == answer.text,
                "an answer in the history differs from the streamed answer",
            )
        statuses = [stored[answer.id]["status"] for answer in answers]
        _expect(statuses == ["complete", "cancelled", "complete"], f"the answers are {', '.join(statuses)}")
        return None, f"{len(stored)} messages, {', '.join(statuses)}"

    def _cost(self, conversation: str) -> tuple[None, str]:
        rows = self._get("/api/chat/usage", group_by="conversation")["rows"]
        row = next((row for row in rows if row.get("conversation_id") == conversation), None)
        _expect(row is not None, "the usage report does not have the conversation")
        assert row is not None
        _expect(row["tokens_in"] > 0 and row["tokens_out"] > 0, "no tokens were counted")
        usd = Decimal(row["cost_usd"])
        return None, f"{row['tokens_in']} tokens in, {row['tokens_out']} out, {usd:.6f} USD"

    @contextmanager
    def _ask(self, question: str, conversation: str | None = None) -> Iterator[tuple[Answer, Iterator[Any]]]:
        body = {"message": question} | ({"conversationId": conversation} if conversation else {})
        began = time.monotonic()
        with self._client.stream("POST", "/chat-stream", json=body) as response:
            if response.status_code != 200:
                raise SmokeFailed(_error_of(response))
            answer = Answer(response.headers["x-message-id"], response.headers["x-conversation-id"])
            events = _events(response)
            _read(answer, events, until=1)
            answer.first_after = time.monotonic() - began
            yield answer, events

    def _get(self, path: str, **query: str) -> Any:
        response = self._client.get(path, params=query)
        if response.status_code != 200:
            raise SmokeFailed(_error_of(response))
        return response.json()


def _events(response: httpx.Response) -> Iterator[Any]:
    return EventSource(response).iter_sse()


def _read(answer: Answer, events: Iterator[Any], *, until: int | None = None) -> None:
    """Reads events until the end of the answer, or until it has `until` chunks."""
    while answer.end is None and (until is None or len(answer.chunks) < until):
        event = next(events, None)
        _expect(event is not None, "the stream ended without an end event")
        assert event is not None
        data = json.loads(event.data)
        if data["type"] == "token":
            answer.chunks.append(data["content"])
            answer.offset = event.id
        elif data["type"] in {"done", "error"}:
            answer.end = data


def _error_of(response: httpx.Response) -> str:
    response.read()
    try:
        code = response.json().get("code", "")
    except ValueError:
        code = ""
    return f"answered with {response.status_code} {code}".rstrip()


def _expect(condition: bool, message: str) -> None:  # noqa: FBT001 (as in an assert statement)
    if not condition:
        raise SmokeFailed(message)


def _anonymous_token(client: httpx.Client) -> str:
    response = client.post("/auth/anonymous", json={})
    if response.status_code == 403:
        raise SmokeFailed("the deployment does not allow anonymous users: TOKEN=… is needed")
    if not response.is_success:
        raise SmokeFailed(f"sign-in: {_error_of(response)}")
    return str(response.json()["token"])


def main(url: str, token: str | None = None) -> int:
    with httpx.Client(base_url=url, timeout=_TIMEOUT, follow_redirects=True) as client:
        try:
            client.headers["authorization"] = f"Bearer {token or _anonymous_token(client)}"
            Smoke(client).run()
        except SmokeFailed as error:
            print(f"FAILED  {error}", file=sys.stderr)
            return 1
        except httpx.HTTPError as error:
            print(f"FAILED  cannot reach {url}: {type(error).__name__}", file=sys.stderr)
            return 1
    print(f"{url} works")
    return 0


def _run(arguments: list[str]) -> int:
    """Checks a URL, or a deployment by its name. The URL and the token of a deployment come from AWS."""
    token = os.environ.get("TOKEN")
    if len(arguments) == 1 and arguments[0].startswith(("http://", "https://")):
        return main(arguments[0], token)
    if len(arguments) == 1 and arguments[0]:
        try:
            deployment = load_deployment(arguments[0])
            return main(deployment.outputs()["Url"], token or deployment.token())
        except (DeploymentError, BotoCoreError, ClientError) as error:
            print(error, file=sys.stderr)
            return 2
    print(
        "usage: make smoke URL=https://… (TOKEN=…, or as an anonymous user), or make smoke ENV=dev",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
