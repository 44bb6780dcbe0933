"""chat-client.js in a real browser, with the real functions and network failures.

Tests in Node cover each fault byte by byte. These tests check that fetch, streams and signals of a browser
behave like those of Node.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Request

from dev.local import ROOT
from dev.mock_llm import answer_text
from shared.settings import load_settings
from tests.cutting_proxy import CuttingProxy
from tests.serving import mocked, serve, token
from tests.web.browser import needs_chromium

pytestmark = needs_chromium

# Records in `calls` the calls of the handlers, and in `calls.split` how many network reads ended inside a
# character.
HTML = """<!doctype html><title>A page</title><link rel=icon href=data:,><script type=module>
  import { createChatClient } from "/chat-client.js";
  const calls = { chunks: [], ids: [], states: [], started: [], completed: [], errors: [], split: 0 };
  const counting = async (...request) => {
    const response = await fetch(...request);
    const { status, headers, body } = response;
    const count = new TransformStream({
      transform(bytes, controller) {
        try { new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { calls.split += 1; }
        controller.enqueue(bytes);
      },
    });
    return new Response(body && body.pipeThrough(count), { status, headers });
  };
  const handlers = {
    onStart: (started) => calls.started.push(started),
    onChunk: (text, id) => { calls.chunks.push(text); calls.ids.push(id); },
    onState: (state) => calls.states.push(state),
    onComplete: (completed) => calls.completed.push(completed),
    onError: ({ code }) => calls.errors.push(code),
  };
  window.start = (token) => {
    const chat = createChatClient({ getToken: () => token, fetch: counting, retryDelay: () => 20 });
    const leaving = new AbortController();
    window.send = (request) => {
      window.answer = chat.sendMessage(request, handlers, { signal: leaving.signal });
      window.settled = answer.done.then(() => "completed", (error) => error.name);
    };
    window.leave = () => leaving.abort();
  };
  window.calls = calls;
</script>"""


class ClientPage:
    """A page with the client and a new user. Records the requests."""

    def __init__(self, page: Page, proxy: CuttingProxy) -> None:
        self.page = page
        self.proxy = proxy
        self.requests: list[Request] = []
        page.on("request", self._on_request)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)

    def send(self, script: str) -> None:
        self.page.evaluate("request => send(request)", {"message": "Hi", "model": f"openai/mock:{script}"})

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def settle(self) -> dict[str, Any]:
        """Waits for the end of the answer. Returns the recorded calls of the handlers."""
        self.page.evaluate("settled")
        calls: dict[str, Any] = self.page.evaluate("calls")
        return calls

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.url.endswith(path)]


@pytest.fixture
def client(database, mock, watch) -> Iterator[ClientPage]:
    environ = mocked(database.url, mock, "openai/mock", LLM_ALLOWED_MODELS="openai/mock:*")
    with serve(load_settings(environ)) as url, CuttingProxy(url) as proxy:
        context = watch(proxy.url).context()
        context.route("**/a-page", lambda route: route.fulfill(body=HTML, content_type="text/html"))
        context.route("**/chat-client.js", lambda route: route.fulfill(path=ROOT / "web/chat-client.js"))
        page = context.new_page()
        page.goto(f"{proxy.url}/a-page")
        page.wait_for_function("window.calls")
        page.evaluate("token => start(token)", token(uuid4()))
        yield ClientPage(page, proxy)


def answers(database) -> list[tuple[str, str]]:
    rows = database.rows("select status, content from messages where role = 'assistant' order by created_at")
    return [(row["status"], row["content"]) for row in rows]


def test_the_answer_arrives_in_chunks_and_equals_the_stored_answer(client, database):
    client.send("tokens=40&gap=20ms")
    client.wait_for("calls.chunks.length > 3")
    assert client.page.evaluate("calls.completed") == []
    calls = client.settle()
    text = "".join(calls["chunks"])
    assert text == answer_text("tokens=40")
    assert len(calls["chunks"]) > 10
    assert calls["ids"] == sorted(set(calls["ids"]))
    assert calls["states"] == ["connecting", "waiting", "streaming"]
    [started], [completed] = calls["started"], calls["completed"]
    assert completed["text"] == text
    assert {key: completed[key] for key in started} == started
    assert answers(database) == [("complete", text)]


def test_characters_that_are_split_between_reads_are_decoded(client, database):
    client.proxy.piece = 5
    client.send("text=" + "🦉日本語ñ" * 20)
    calls = client.settle()
    assert calls["split"] > 3
    assert "".join(calls["chunks"]) == "🦉日本語ñ" * 20


def test_an_abort_disconnects_and_the_server_completes_the_answer(client, database):
    client.send("tokens=30&gap=20ms")
    client.wait_for("calls.chunks.length")
    client.page.evaluate("leave()")
    assert client.page.evaluate("settled") == "AbortError"
    calls = client.settle()
    assert (calls["completed"], calls["errors"], client.requests_to("/cancel")) == ([], [], [])
    for _ in range(600):
        if answers(database)[0][0] != "streaming":
            break
        client.page.wait_for_timeout(50)
    assert answers(database) == [("complete", answer_text("tokens=30"))]


def test_a_stop_cancels_the_answer_on_the_server_and_keeps_its_text(client, database):
    client.send("tokens=1000&gap=20ms")
    client.wait_for("calls.chunks.length > 2")
    client.page.evaluate("answer.stop()")
    calls = client.settle()
    [completed] = calls["completed"]
    assert completed["finishReason"] == "cancelled"
    assert len(client.requests_to(f"/api/chat/messages/{completed['messageId']}/cancel")) == 1
    assert answers(database) == [("cancelled", completed["text"])]


def test_an_answer_resumes_from_the_last_id_after_a_lost_connection(client, database, mock):
    mock.reset()
    client.send("tokens=60&gap=20ms")
    client.wait_for("calls.chunks.length > 2")
    client.proxy.lose_network()
    client.wait_for("calls.states.filter(state => state === 'reconnecting').length > 2")
    last = client.page.evaluate("calls.ids.at(-1)")
    client.proxy.find_network()
    calls = client.settle()
    assert "".join(calls["chunks"]) == answer_text("tokens=60")
    assert answers(database) == [("complete", answer_text("tokens=60"))]
    resumed = client.requests_to("/stream")
    assert {request.headers["last-event-id"] for request in resumed} == {str(last)}
    assert len(client.requests_to("/chat-stream")) == 1
    assert mock.stats()["hits"] == 1


def test_each_message_has_one_idempotency_key_for_all_attempts(client, database, mock):
    mock.reset()
    client.proxy.lose_answers_after = 0
    client.send("tokens=5")
    client.wait_for("calls.states.includes('reconnecting')")
    client.proxy.lose_answers_after = None
    client.settle()
    lost = {request.headers["idempotency-key"] for request in client.requests_to("/chat-stream")}
    assert len(client.requests_to("/chat-stream")) > 1
    assert len(lost) == 1
    client.send("tokens=6")
    client.settle()
    assert client.requests[-1].headers["idempotency-key"] not in lost
    assert answers(database) == [("complete", answer_text(f"tokens={n}")) for n in (5, 6)]
    assert mock.stats()["hits"] == 2
