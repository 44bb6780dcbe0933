"""The browser client in a real browser, against the real functions, with a network that can be lost.

What it makes of each fault is tested in Node, byte by byte; here it is tested that a browser's fetch,
streams and signals do as Node's do.
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

# Keeps what its handlers are told in `told`, and each read of the network that ended inside a character.
HTML = """<!doctype html><title>A page</title><link rel=icon href=data:,><script type=module>
  import { createChatClient } from "/chat-client.js";
  const told = { chunks: [], ids: [], states: [], started: [], completed: [], errors: [], split: 0 };
  const counting = async (...request) => {
    const response = await fetch(...request);
    const { status, headers, body } = response;
    const count = new TransformStream({
      transform(bytes, controller) {
        try { new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { told.split += 1; }
        controller.enqueue(bytes);
      },
    });
    return new Response(body && body.pipeThrough(count), { status, headers });
  };
  const handlers = {
    onStart: (started) => told.started.push(started),
    onChunk: (text, id) => { told.chunks.push(text); told.ids.push(id); },
    onState: (state) => told.states.push(state),
    onComplete: (completed) => told.completed.push(completed),
    onError: ({ code }) => told.errors.push(code),
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
  window.told = told;
</script>"""


class ClientPage:
    """A page that has the client, as a user of its own, and what it asked."""

    def __init__(self, page: Page, proxy: CuttingProxy) -> None:
        self.page = page
        self.proxy = proxy
        self.requests: list[Request] = []
        page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        self.requests.append(request)

    def send(self, script: str) -> None:
        self.page.evaluate("request => send(request)", {"message": "Hi", "model": f"openai/mock:{script}"})

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def settle(self) -> dict[str, Any]:
        """Waits for the answer's end, and says what the handlers were told."""
        self.page.evaluate("settled")
        told: dict[str, Any] = self.page.evaluate("told")
        return told

    def asked(self, path: str) -> list[Request]:
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
        page.wait_for_function("window.told")
        page.evaluate("token => start(token)", token(uuid4()))
        yield ClientPage(page, proxy)


def answers(database) -> list[tuple[str, str]]:
    rows = database.rows("select status, content from messages where role = 'assistant' order by created_at")
    return [(row["status"], row["content"]) for row in rows]


def test_the_answer_comes_chunk_by_chunk_and_is_told_as_it_is_stored(client, database):
    client.send("tokens=40&gap=20ms")
    client.wait_for("told.chunks.length > 3")
    assert client.page.evaluate("told.completed") == []
    told = client.settle()
    text = "".join(told["chunks"])
    assert text == answer_text("tokens=40")
    assert len(told["chunks"]) > 10
    assert told["ids"] == sorted(set(told["ids"]))
    assert told["states"] == ["connecting", "waiting", "streaming"]
    [started], [completed] = told["started"], told["completed"]
    assert completed["text"] == text
    assert {key: completed[key] for key in started} == started
    assert answers(database) == [("complete", text)]


def test_characters_that_the_network_cuts_in_two_are_whole(client, database):
    client.proxy.piece = 5
    client.send("text=" + "🦉日本語ñ" * 20)
    told = client.settle()
    assert told["split"] > 3
    assert "".join(told["chunks"]) == "🦉日本語ñ" * 20


def test_an_abort_disconnects_and_the_answer_goes_on_without_the_page(client, database):
    client.send("tokens=30&gap=20ms")
    client.wait_for("told.chunks.length")
    client.page.evaluate("leave()")
    assert client.page.evaluate("settled") == "AbortError"
    told = client.settle()
    assert (told["completed"], told["errors"], client.asked("/cancel")) == ([], [], [])
    for _ in range(600):
        if answers(database)[0][0] != "streaming":
            break
        client.page.wait_for_timeout(50)
    assert answers(database) == [("complete", answer_text("tokens=30"))]


def test_a_stop_is_said_to_the_server_which_keeps_what_came(client, database):
    client.send("tokens=1000&gap=20ms")
    client.wait_for("told.chunks.length > 2")
    client.page.evaluate("answer.stop()")
    told = client.settle()
    [completed] = told["completed"]
    assert completed["finishReason"] == "cancelled"
    assert len(client.asked(f"/api/chat/messages/{completed['messageId']}/cancel")) == 1
    assert answers(database) == [("cancelled", completed["text"])]


def test_an_answer_is_read_on_after_a_cut_from_the_last_id(client, database, mock):
    mock.reset()
    client.send("tokens=60&gap=20ms")
    client.wait_for("told.chunks.length > 2")
    client.proxy.lose_network()
    client.wait_for("told.states.filter(state => state === 'reconnecting').length > 2")
    last = client.page.evaluate("told.ids.at(-1)")
    client.proxy.find_network()
    told = client.settle()
    assert "".join(told["chunks"]) == answer_text("tokens=60")
    assert answers(database) == [("complete", answer_text("tokens=60"))]
    resumed = client.asked("/stream")
    assert {request.headers["last-event-id"] for request in resumed} == {str(last)}
    assert len(client.asked("/chat-stream")) == 1
    assert mock.stats()["hits"] == 1


def test_each_message_has_its_key_and_keeps_it_when_an_answer_is_lost(client, database, mock):
    mock.reset()
    client.proxy.lose_answers_after = 0
    client.send("tokens=5")
    client.wait_for("told.states.includes('reconnecting')")
    client.proxy.lose_answers_after = None
    client.settle()
    lost = {request.headers["idempotency-key"] for request in client.asked("/chat-stream")}
    assert len(client.asked("/chat-stream")) > 1
    assert len(lost) == 1
    client.send("tokens=6")
    client.settle()
    assert client.requests[-1].headers["idempotency-key"] not in lost
    assert answers(database) == [("complete", answer_text(f"tokens={n}")) for n in (5, 6)]
    assert mock.stats()["hits"] == 2
