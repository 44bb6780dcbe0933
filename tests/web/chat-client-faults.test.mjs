/** What the client makes of broken connections, refusals, stops and aborts. Every byte is in the test. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { promisify } from "node:util";

import { ChatError, createChatClient } from "../../web/chat-client.js";
import { DONE, HEAD, refused, scripted, token } from "./servers.mjs";

const REQUEST = { message: "Hi" };
const OK = HEAD + token("a", 1) + DONE;
const CANCELLED = 'data: {"type":"done","messageId":"message-1","finishReason":"cancelled","usage":{}}\n\n';
const RESUME = "/api/chat/messages/message-1/stream";
const CANCEL = "/api/chat/messages/message-1/cancel";

function client(url, options) {
  return createChatClient({ baseUrl: url, retryDelay: () => 1, ...options });
}

/** Handlers that write down what they are told. */
function notes() {
  const told = { started: [], text: "", ids: [], states: [], completed: [], errors: [] };
  return {
    told,
    onStart: (started) => told.started.push(started),
    onChunk: (text, id) => {
      told.text += text;
      told.ids.push(id);
    },
    onComplete: (completed) => told.completed.push(completed),
    onError: (error) => told.errors.push(error),
    onState: (state) => told.states.push(state),
  };
}

test("a base URL may end with a slash", async (t) => {
  const { url, requests } = await scripted(t, OK);
  await client(`${url}/`).sendMessage(REQUEST).done;
  assert.equal(requests[0].path, "/chat-stream");
});

test("a good answer is told from its start to its end", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("Hel", 3) + token("lo", 5) + DONE);
  const handlers = notes();
  const request = { message: "Hi", conversationId: "conversation-1" };
  const getToken = async () => "secret";
  const completed = await client(url, { getToken }).sendMessage(request, handlers).done;
  assert.deepEqual(completed, {
    messageId: "message-1",
    conversationId: "conversation-1",
    text: "Hello",
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    finishReason: "stop",
  });
  const { told } = handlers;
  assert.deepEqual(told.started, [{ messageId: "message-1", conversationId: "conversation-1" }]);
  assert.deepEqual([told.text, told.ids], ["Hello", [3, 5]]);
  assert.deepEqual(told.states, ["connecting", "waiting", "streaming"]);
  assert.deepEqual([told.completed, told.errors], [[completed], []]);
  const [{ method, path, headers, body }] = requests;
  assert.deepEqual([method, path, body], ["POST", "/chat-stream", JSON.stringify(request)]);
  assert.equal(headers.authorization, "Bearer secret");
  assert.equal(headers["content-type"], "application/json");
});

test("each message has a key of its own, or the one it is given; no token goes where none is", async (t) => {
  const { url, requests } = await scripted(t, OK, OK, OK);
  const chat = client(url);
  await chat.sendMessage(REQUEST).done;
  await chat.sendMessage(REQUEST).done;
  await chat.sendMessage(REQUEST, {}, { idempotencyKey: "mine" }).done;
  const [one, two, mine] = requests.map(({ headers }) => headers["idempotency-key"]);
  assert.match(one, /^[0-9a-f-]{36}$/);
  assert.notEqual(one, two);
  assert.equal(mine, "mine");
  assert.ok(!("authorization" in requests[0].headers));
});

test("before its headers a cut request is made again, the same under the same key", async (t) => {
  const cut = (socket) => socket.resetAndDestroy();
  const { url, requests } = await scripted(t, cut, "HTTP/1.1 200 OK\r\nX-Mess", OK);
  const handlers = notes();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.deepEqual(requests.map(({ path }) => path), Array(3).fill("/chat-stream"));
  assert.equal(new Set(requests.map(({ headers, body }) => headers["idempotency-key"] + body)).size, 1);
  const { told } = handlers;
  assert.deepEqual([told.started.length, told.text], [1, "a"]);
  assert.deepEqual(told.states, ["connecting", "reconnecting", "reconnecting", "waiting", "streaming"]);
});

const CUTS = {
  "ends too early": (socket) => socket.end(),
  "is reset": (socket) => setTimeout(() => socket.resetAndDestroy(), 50),
  "is cut inside an event": (socket) => socket.end(token("🦉b", 3).slice(0, -3)),
  "is cut inside a character": (socket) => socket.end(Buffer.from("id: 3\ndata: 🦉").subarray(0, -2)),
};
for (const [fault, cut] of Object.entries(CUTS)) {
  test(`an answer that ${fault} is read on by its last id, with nothing missing or double`, async (t) => {
    const first = (socket) => {
      socket.write(HEAD + token("🦉", 1));
      cut(socket);
    };
    const { url, requests } = await scripted(t, first, HEAD + token("🦉b", 3) + DONE);
    const handlers = notes();
    const { text } = await client(url).sendMessage(REQUEST, handlers).done;
    assert.equal(text, "🦉🦉b");
    const { told } = handlers;
    assert.deepEqual([told.text, told.ids, told.started.length], ["🦉🦉b", [1, 3], 1]);
    assert.deepEqual(told.states, ["connecting", "waiting", "streaming", "reconnecting", "streaming"]);
    const [, { method, path, headers }] = requests;
    assert.deepEqual([method, path, headers["last-event-id"]], ["GET", RESUME, "1"]);
  });
}

test("a server that is restarted for a while is waited for", async (t) => {
  const starting = refused(503, { error: "starting", code: "unavailable", userMessage: "Soon." });
  const cut = HEAD + token("a", 1);
  const { url } = await scripted(t, cut, starting, refused(502, "<html>"), HEAD + token("b", 2) + DONE);
  const { text } = await client(url).sendMessage(REQUEST).done;
  assert.equal(text, "ab");
});

test("it gives up after so many failures in a row, and new text begins another row", async (t) => {
  const cut = (socket) => socket.destroy();
  const { url, requests } = await scripted(t, HEAD + token("a", 1), cut, HEAD + token("b", 2), cut, cut, cut);
  const asked = [];
  const retryDelay = (failures) => asked.push(failures) && 1;
  const handlers = notes();
  const answer = client(url, { retries: 3, retryDelay }).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "connection_lost", status: 0, retryable: true });
  assert.deepEqual(asked, [1, 2, 1, 2, 3]);
  assert.equal(requests.length, 6);
  const [error] = handlers.told.errors;
  assert.ok(error instanceof ChatError && error.cause instanceof Error);
  assert.match(error.userMessage, /^Coach /);
});

test("without a word on it, the waits are some tenths of a second, and grow", async () => {
  const times = [];
  const fetch = async () => {
    times.push(performance.now());
    throw new TypeError("failed to fetch");
  };
  await assert.rejects(createChatClient({ fetch, retries: 2 }).sendMessage(REQUEST).done);
  const [first, second] = [times[1] - times[0], times[2] - times[1]];
  assert.ok(first > 240 && second > 490, `waited ${first} and ${second} ms`);
});

test("a connection that says nothing is given up, one with heartbeats is not", async (t) => {
  const dead = (socket) => socket.write(HEAD + token("a", 1));
  const quiet = async (socket) => {
    socket.write(HEAD);
    for (let beat = 0; beat < 8; beat += 1) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      socket.write(": ping\n\n");
    }
    socket.end(token("b", 2) + DONE);
  };
  const { url, requests } = await scripted(t, dead, quiet);
  const { text } = await client(url, { silenceTimeout: 900 }).sendMessage(REQUEST).done;
  assert.equal(text, "ab");
  assert.equal(requests.length, 2);
});

const REFUSALS = [
  [400, "invalid_request", { field: "message" }, false],
  [403, "forbidden", {}, false],
  [404, "not_found", {}, false],
  [409, "conflict", {}, true],
  [413, "too_large", {}, false],
  [422, "idempotency_mismatch", {}, false],
  [429, "rate_limited", { retryAfter: 17 }, true],
  [500, "internal", {}, true],
  [502, "upstream_timeout", {}, true],
  [503, "unavailable", {}, true],
];
for (const [status, code, { retryAfter = 0, field = "" }, retryable] of REFUSALS) {
  test(`${status} ${code} is told and not tried again`, async (t) => {
    const body = { error: "for developers", code, userMessage: "Warm words.", ...(field && { field }) };
    const headers = retryAfter ? `Retry-After: ${retryAfter}\r\n` : "";
    const { url, requests } = await scripted(t, refused(status, body, headers));
    const handlers = notes();
    await assert.rejects(client(url).sendMessage(REQUEST, handlers).done, {
      name: "ChatError",
      message: "for developers",
      userMessage: "Warm words.",
      ...{ status, code, field, retryAfter, retryable },
    });
    assert.equal(requests.length, 1);
    assert.equal(handlers.told.errors.length, 1);
    assert.deepEqual(handlers.told.states, ["connecting"]);
  });
}

for (const body of ["<html>Bad Gateway</html>", "null", "[]", '"text"', ""]) {
  test(`a refusal that says ${body || "nothing"} is an error like any other`, async (t) => {
    const { url } = await scripted(t, refused(504, body));
    await assert.rejects(client(url).sendMessage(REQUEST).done, {
      message: "HTTP 504",
      code: "http_504",
      userMessage: "Coach is taking a moment. Let's try again.",
      retryable: true,
    });
  });
}

test("a page in place of an answer, as at an airport, is a lost connection", async (t) => {
  const page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>Welcome</h1>";
  const { url } = await scripted(t, page, OK);
  const handlers = notes();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.equal(handlers.told.started.length, 1);
});

const UNAUTHORIZED = refused(401, { error: "expired", code: "unauthorized", userMessage: "Sign in again." });

test("an expired token is asked for again, once", async (t) => {
  const { url, requests } = await scripted(t, UNAUTHORIZED, OK);
  const asked = [];
  const getToken = ({ refresh }) => {
    asked.push(refresh);
    return refresh ? "new" : "old";
  };
  await client(url, { getToken }).sendMessage(REQUEST).done;
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(requests.map(({ headers }) => headers.authorization), ["Bearer old", "Bearer new"]);
  assert.equal(requests[0].headers["idempotency-key"], requests[1].headers["idempotency-key"]);
});

test("a token that is refused twice is an error, and a retry asks for a new one", async (t) => {
  const { url, requests } = await scripted(t, UNAUTHORIZED, UNAUTHORIZED, OK);
  const answer = client(url, { getToken: () => "bad" }).sendMessage(REQUEST);
  await assert.rejects(answer.done, { code: "unauthorized", status: 401, retryable: false });
  assert.equal(requests.length, 2);
  assert.equal((await answer.retry().done).text, "a");
});

test("a token that cannot be had at the moment is a lost connection", async (t) => {
  const { url } = await scripted(t, OK);
  let failures = 1;
  const getToken = async () => {
    if (failures--) throw new TypeError("failed to fetch");
    return "token";
  };
  await client(url, { getToken }).sendMessage(REQUEST).done;
});

const FAILED = 'data: {"type":"error","message":"Warm words."}\n\n';

test("an answer that fails before its first word can be tried again under its key", async (t) => {
  const { url, requests } = await scripted(t, HEAD + FAILED, OK);
  const answer = client(url).sendMessage(REQUEST);
  await assert.rejects(answer.done, { code: "answer_failed", userMessage: "Warm words.", retryable: true });
  assert.equal((await answer.retry().done).text, "a");
  const [first, second] = requests;
  assert.deepEqual([second.method, second.path, second.body], ["POST", "/chat-stream", first.body]);
  assert.equal(second.headers["idempotency-key"], first.headers["idempotency-key"]);
});

test("an answer that fails after that has ended", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("a", 1) + FAILED);
  const handlers = notes();
  const answer = client(url).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "answer_failed", retryable: false });
  assert.deepEqual([handlers.told.text, requests.length], ["a", 1]);
});

test("a retry after a lost connection goes on where the text ends", async (t) => {
  const cut = HEAD + token("a", 1);
  const { url, requests } = await scripted(t, cut, HEAD, HEAD + token("b", 2) + DONE);
  const handlers = notes();
  const answer = client(url, { retries: 1 }).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "connection_lost" });
  const { text } = await answer.retry().done;
  assert.deepEqual([text, handlers.told.text], ["ab", "ab"]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "1", "1"]);
});

test("a resumed answer is read from the id it is given", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("b", 2), HEAD + token("c", 3) + DONE);
  const handlers = notes();
  const completed = await client(url).resume("message-1", 1, handlers).done;
  assert.deepEqual([completed.text, completed.conversationId], ["bc", "conversation-1"]);
  assert.deepEqual(handlers.told.ids, [2, 3]);
  const asked = requests.map(({ method, path, headers }) => [method, path, headers["last-event-id"]]);
  assert.deepEqual(asked, [
    ["GET", RESUME, "1"],
    ["GET", RESUME, "2"],
  ]);
});

/** An answer that goes on until somebody cancels it, and how cancelling it went each time. */
function stoppable(...cancels) {
  let running;
  const answer = (socket) => {
    running = socket;
    socket.write(HEAD + token("a", 1));
  };
  const cancelled = cancels.map((bytes) => (socket, { method, path }) => {
    assert.deepEqual([method, path], ["POST", CANCEL]);
    socket.end(bytes);
    if (bytes.includes("202")) running.end(CANCELLED);
  });
  return [answer, ...cancelled];
}
const HEARD = refused(202, { id: "message-1", status: "cancelling" });

test("a stop is told to the server, and the answer ends as the server says", async (t) => {
  const { url } = await scripted(t, ...stoppable(HEARD));
  const handlers = notes();
  handlers.onChunk = () => answer.stop();
  const answer = client(url, { getToken: () => "token" }).sendMessage(REQUEST, handlers);
  const { text, finishReason, usage } = await answer.done;
  assert.deepEqual([text, finishReason, usage], ["a", "cancelled", {}]);
  assert.deepEqual([handlers.told.completed.length, handlers.told.errors], [1, []]);
});

test("a stop that comes before the answer is told as soon as the answer has a name", async (t) => {
  const [running, cancelling] = stoppable(HEARD);
  const slow = (socket) => setTimeout(() => running(socket), 700);
  const { url, requests } = await scripted(t, slow, cancelling);
  const answer = client(url).sendMessage(REQUEST);
  await answer.stop();
  assert.equal((await answer.done).finishReason, "cancelled");
  assert.equal(requests.length, 2);
});

test("a stop that is not heard is said again", async (t) => {
  const down = refused(503, { code: "unavailable" });
  const { url } = await scripted(t, ...stoppable(down, HEARD));
  const handlers = notes();
  handlers.onChunk = () => answer.stop();
  const answer = client(url).sendMessage(REQUEST, handlers);
  assert.deepEqual((await answer.done).usage, {});
});

test("a stop that is never heard ends the answer here", async (t) => {
  const silent = () => {};
  const { url } = await scripted(t, ...stoppable(), silent);
  const handlers = notes();
  handlers.onChunk = () => answer.stop();
  const answer = client(url, { stopTimeout: 200 }).sendMessage(REQUEST, handlers);
  const { text, finishReason, usage } = await answer.done;
  assert.deepEqual([text, finishReason, usage], ["a", "cancelled", undefined]);
  assert.deepEqual(handlers.told.errors, []);
});

test("a stop after the end changes nothing", async (t) => {
  const { url, requests } = await scripted(t, OK);
  const answer = client(url).sendMessage(REQUEST);
  await answer.done;
  await answer.stop();
  assert.equal((await answer.done).finishReason, "stop");
  assert.equal(requests.length, 1);
});

test("a connection is let go before the next is made, and when its answer has ended", async (t) => {
  const closed = [];
  const lingering = (bytes) => async (socket) => {
    await closed.at(-1);
    closed.push(once(socket, "close"));
    socket.write(bytes);
  };
  const { url } = await scripted(t, lingering(`${HEAD}data: <html>\n\n`), lingering(OK));
  await client(url).sendMessage(REQUEST).done;
  await Promise.all(closed);
});

test("an abort only disconnects", async (t) => {
  let closed;
  const running = (socket) => {
    closed = once(socket, "close");
    socket.write(HEAD + token("a", 1));
  };
  const { url, requests } = await scripted(t, running);
  const leaving = new AbortController();
  const handlers = notes();
  handlers.onChunk = () => leaving.abort();
  const answer = client(url).sendMessage(REQUEST, handlers, { signal: leaving.signal });
  await assert.rejects(answer.done, { name: "AbortError" });
  await closed;
  assert.equal(requests.length, 1);
  assert.deepEqual([handlers.told.completed, handlers.told.errors], [[], []]);
});

test("an abort ends the wait between two attempts, and one that came before asks nobody", async (t) => {
  const { url, requests } = await scripted(t, HEAD);
  const leaving = new AbortController();
  const onState = (state) => state === "reconnecting" && leaving.abort(new Error("gone"));
  const chat = client(url, { retryDelay: () => 60_000 });
  await assert.rejects(chat.sendMessage(REQUEST, { onState }, { signal: leaving.signal }).done, /gone/);
  await assert.rejects(chat.sendMessage(REQUEST, {}, { signal: leaving.signal }).done, /gone/);
  assert.equal(requests.length, 1);
});

test("a browser that knows it is offline says so", async (t) => {
  const { url } = await scripted(t, HEAD, OK);
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
  t.after(() => {
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else delete globalThis.navigator;
  });
  const handlers = notes();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.equal(handlers.told.states[2], "offline");
});

test("what a handler throws is reported as uncaught, and the answer goes on", async (t) => {
  const { url } = await scripted(t, OK);
  const page = `
    import { createChatClient } from ${JSON.stringify(new URL("../../web/chat-client.js", import.meta.url))};
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    const onChunk = () => { throw new Error("a bug of the page"); };
    const onComplete = ({ text }) => console.log("complete", text);
    createChatClient({ baseUrl: "${url}" }).sendMessage({ message: "Hi" }, { onChunk, onComplete });
  `;
  // That it ends at all shows that no timer is left behind.
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "--eval", page]);
  assert.equal((await run).stdout, "uncaught a bug of the page\ncomplete a\n");
});
