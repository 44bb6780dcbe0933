/** The client with broken connections, refusals, stops and aborts. The tests contain every byte. */

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

/** Handlers that record their calls in `calls`. */
function recorder() {
  const calls = { started: [], text: "", ids: [], states: [], completed: [], errors: [] };
  return {
    calls,
    onStart: (started) => calls.started.push(started),
    onChunk: (text, id) => {
      calls.text += text;
      calls.ids.push(id);
    },
    onComplete: (completed) => calls.completed.push(completed),
    onError: (error) => calls.errors.push(error),
    onState: (state) => calls.states.push(state),
  };
}

test("a base URL may end with a slash", async (t) => {
  const { url, requests } = await scripted(t, OK);
  await client(`${url}/`).sendMessage(REQUEST).done;
  assert.equal(requests[0].path, "/chat-stream");
});

test("a complete answer calls all handlers in order", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("Hel", 3) + token("lo", 5) + DONE);
  const handlers = recorder();
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
  const { calls } = handlers;
  assert.deepEqual(calls.started, [{ messageId: "message-1", conversationId: "conversation-1" }]);
  assert.deepEqual([calls.text, calls.ids], ["Hello", [3, 5]]);
  assert.deepEqual(calls.states, ["connecting", "waiting", "streaming"]);
  assert.deepEqual([calls.completed, calls.errors], [[completed], []]);
  const [{ method, path, headers, body }] = requests;
  assert.deepEqual([method, path, body], ["POST", "/chat-stream", JSON.stringify(request)]);
  assert.equal(headers.authorization, "Bearer secret");
  assert.equal(headers["content-type"], "application/json");
});

test("each message has its own idempotency key or the given one, and without a token no header is sent", async (t) => {
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

test("a request that fails before the response headers is repeated with the same key", async (t) => {
  const cut = (socket) => socket.resetAndDestroy();
  const { url, requests } = await scripted(t, cut, "HTTP/1.1 200 OK\r\nX-Mess", OK);
  const handlers = recorder();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.deepEqual(requests.map(({ path }) => path), Array(3).fill("/chat-stream"));
  assert.equal(new Set(requests.map(({ headers, body }) => headers["idempotency-key"] + body)).size, 1);
  const { calls } = handlers;
  assert.deepEqual([calls.started.length, calls.text], [1, "a"]);
  assert.deepEqual(calls.states, ["connecting", "reconnecting", "reconnecting", "waiting", "streaming"]);
});

const CUTS = {
  "ends too early": (socket) => socket.end(),
  "is reset": (socket) => setTimeout(() => socket.resetAndDestroy(), 50),
  "is cut inside an event": (socket) => socket.end(token("🦉b", 3).slice(0, -3)),
  "is cut inside a character": (socket) => socket.end(Buffer.from("id: 3\ndata: 🦉").subarray(0, -2)),
};
for (const [fault, cut] of Object.entries(CUTS)) {
  test(`an answer that ${fault} is resumed from its last id, without lost or repeated text`, async (t) => {
    const first = (socket) => {
      socket.write(HEAD + token("🦉", 1));
      cut(socket);
    };
    const { url, requests } = await scripted(t, first, HEAD + token("🦉b", 3) + DONE);
    const handlers = recorder();
    const { text } = await client(url).sendMessage(REQUEST, handlers).done;
    assert.equal(text, "🦉🦉b");
    const { calls } = handlers;
    assert.deepEqual([calls.text, calls.ids, calls.started.length], ["🦉🦉b", [1, 3], 1]);
    assert.deepEqual(calls.states, ["connecting", "waiting", "streaming", "reconnecting", "streaming"]);
    const [, { method, path, headers }] = requests;
    assert.deepEqual([method, path, headers["last-event-id"]], ["GET", RESUME, "1"]);
  });
}

test("the client waits for a server that restarts", async (t) => {
  const starting = refused(503, { error: "starting", code: "unavailable", userMessage: "Soon." });
  const cut = HEAD + token("a", 1);
  const { url } = await scripted(t, cut, starting, refused(502, "<html>"), HEAD + token("b", 2) + DONE);
  const { text } = await client(url).sendMessage(REQUEST).done;
  assert.equal(text, "ab");
});

test("the client gives up after `retries` successive failures, and new text resets the count", async (t) => {
  const cut = (socket) => socket.destroy();
  const { url, requests } = await scripted(t, HEAD + token("a", 1), cut, HEAD + token("b", 2), cut, cut, cut);
  const asked = [];
  const retryDelay = (failures) => asked.push(failures) && 1;
  const handlers = recorder();
  const answer = client(url, { retries: 3, retryDelay }).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "connection_lost", status: 0, retryable: true });
  assert.deepEqual(asked, [1, 2, 1, 2, 3]);
  assert.equal(requests.length, 6);
  const [error] = handlers.calls.errors;
  assert.ok(error instanceof ChatError && error.cause instanceof Error);
  assert.match(error.userMessage, /^Coach /);
});

test("the default delays start below a second and grow", async () => {
  const times = [];
  const fetch = async () => {
    times.push(performance.now());
    throw new TypeError("failed to fetch");
  };
  await assert.rejects(createChatClient({ fetch, retries: 2 }).sendMessage(REQUEST).done);
  const [first, second] = [times[1] - times[0], times[2] - times[1]];
  assert.ok(first > 240 && second > 490, `waited ${first} and ${second} ms`);
});

test("a silent connection is closed, a connection with heartbeats is not", async (t) => {
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
  test(`${status} ${code} is reported and not retried`, async (t) => {
    const body = { error: "for developers", code, userMessage: "Warm words.", ...(field && { field }) };
    const headers = retryAfter ? `Retry-After: ${retryAfter}\r\n` : "";
    const { url, requests } = await scripted(t, refused(status, body, headers));
    const handlers = recorder();
    await assert.rejects(client(url).sendMessage(REQUEST, handlers).done, {
      name: "ChatError",
      message: "for developers",
      userMessage: "Warm words.",
      ...{ status, code, field, retryAfter, retryable },
    });
    assert.equal(requests.length, 1);
    assert.equal(handlers.calls.errors.length, 1);
    assert.deepEqual(handlers.calls.states, ["connecting"]);
  });
}

for (const body of ["<html>Bad Gateway</html>", "null", "[]", '"text"', ""]) {
  test(`a refusal with the body ${body || "(empty)"} is a ChatError`, async (t) => {
    const { url } = await scripted(t, refused(504, body));
    await assert.rejects(client(url).sendMessage(REQUEST).done, {
      message: "HTTP 504",
      code: "http_504",
      userMessage: "Coach is taking a moment. Let's try again.",
      retryable: true,
    });
  });
}

test("an HTML page of a captive portal is handled as a lost connection", async (t) => {
  const page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>Welcome</h1>";
  const { url } = await scripted(t, page, OK);
  const handlers = recorder();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.equal(handlers.calls.started.length, 1);
});

const UNAUTHORIZED = refused(401, { error: "expired", code: "unauthorized", userMessage: "Sign in again." });

test("after a 401 the client requests a new token, once", async (t) => {
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

test("a token that is refused twice is an error, and `retry` requests a new one", async (t) => {
  const { url, requests } = await scripted(t, UNAUTHORIZED, UNAUTHORIZED, OK);
  const answer = client(url, { getToken: () => "bad" }).sendMessage(REQUEST);
  await assert.rejects(answer.done, { code: "unauthorized", status: 401, retryable: false });
  assert.equal(requests.length, 2);
  assert.equal((await answer.retry().done).text, "a");
});

test("an error in getToken is handled as a lost connection", async (t) => {
  const { url } = await scripted(t, OK);
  let failures = 1;
  const getToken = async () => {
    if (failures--) throw new TypeError("failed to fetch");
    return "token";
  };
  await client(url, { getToken }).sendMessage(REQUEST).done;
});

const FAILED = 'data: {"type":"error","message":"Warm words."}\n\n';

test("an answer that fails before its first text can be retried with its key", async (t) => {
  const { url, requests } = await scripted(t, HEAD + FAILED, OK);
  const answer = client(url).sendMessage(REQUEST);
  await assert.rejects(answer.done, { code: "answer_failed", userMessage: "Warm words.", retryable: true });
  assert.equal((await answer.retry().done).text, "a");
  const [first, second] = requests;
  assert.deepEqual([second.method, second.path, second.body], ["POST", "/chat-stream", first.body]);
  assert.equal(second.headers["idempotency-key"], first.headers["idempotency-key"]);
});

test("an answer that fails after its first text cannot be retried", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("a", 1) + FAILED);
  const handlers = recorder();
  const answer = client(url).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "answer_failed", retryable: false });
  assert.deepEqual([handlers.calls.text, requests.length], ["a", 1]);
});

test("a retry after a lost connection continues after the last text", async (t) => {
  const cut = HEAD + token("a", 1);
  const { url, requests } = await scripted(t, cut, HEAD, HEAD + token("b", 2) + DONE);
  const handlers = recorder();
  const answer = client(url, { retries: 1 }).sendMessage(REQUEST, handlers);
  await assert.rejects(answer.done, { code: "connection_lost" });
  const { text } = await answer.retry().done;
  assert.deepEqual([text, handlers.calls.text], ["ab", "ab"]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "1", "1"]);
});

test("`resume` reads the answer from the given id", async (t) => {
  const { url, requests } = await scripted(t, HEAD + token("b", 2), HEAD + token("c", 3) + DONE);
  const handlers = recorder();
  const completed = await client(url).resume("message-1", 1, handlers).done;
  assert.deepEqual([completed.text, completed.conversationId], ["bc", "conversation-1"]);
  assert.deepEqual(handlers.calls.ids, [2, 3]);
  const asked = requests.map(({ method, path, headers }) => [method, path, headers["last-event-id"]]);
  assert.deepEqual(asked, [
    ["GET", RESUME, "1"],
    ["GET", RESUME, "2"],
  ]);
});

/** An answer that ends when it is cancelled, and the responses to the attempts to cancel it. */
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
const ACCEPTED = refused(202, { id: "message-1", status: "cancelling" });

test("stop cancels on the server, and the answer ends with the server's event", async (t) => {
  const { url } = await scripted(t, ...stoppable(ACCEPTED));
  const handlers = recorder();
  handlers.onChunk = () => answer.stop();
  const answer = client(url, { getToken: () => "token" }).sendMessage(REQUEST, handlers);
  const { text, finishReason, usage } = await answer.done;
  assert.deepEqual([text, finishReason, usage], ["a", "cancelled", {}]);
  assert.deepEqual([handlers.calls.completed.length, handlers.calls.errors], [1, []]);
});

test("a stop before the response cancels when the message id is known", async (t) => {
  const [running, cancelling] = stoppable(ACCEPTED);
  const slow = (socket) => setTimeout(() => running(socket), 700);
  const { url, requests } = await scripted(t, slow, cancelling);
  const answer = client(url).sendMessage(REQUEST);
  await answer.stop();
  assert.equal((await answer.done).finishReason, "cancelled");
  assert.equal(requests.length, 2);
});

test("a cancel that fails is repeated", async (t) => {
  const down = refused(503, { code: "unavailable" });
  const { url } = await scripted(t, ...stoppable(down, ACCEPTED));
  const handlers = recorder();
  handlers.onChunk = () => answer.stop();
  const answer = client(url).sendMessage(REQUEST, handlers);
  assert.deepEqual((await answer.done).usage, {});
});

test("stop ends the answer locally if no cancel succeeds", async (t) => {
  const silent = () => {};
  const { url } = await scripted(t, ...stoppable(), silent);
  const handlers = recorder();
  handlers.onChunk = () => answer.stop();
  const answer = client(url, { stopTimeout: 200 }).sendMessage(REQUEST, handlers);
  const { text, finishReason, usage } = await answer.done;
  assert.deepEqual([text, finishReason, usage], ["a", "cancelled", undefined]);
  assert.deepEqual(handlers.calls.errors, []);
});

test("a stop after the end changes nothing", async (t) => {
  const { url, requests } = await scripted(t, OK);
  const answer = client(url).sendMessage(REQUEST);
  await answer.done;
  await answer.stop();
  assert.equal((await answer.done).finishReason, "stop");
  assert.equal(requests.length, 1);
});

test("a connection is closed before the next one opens, and at the end of the answer", async (t) => {
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
  const controller = new AbortController();
  const handlers = recorder();
  handlers.onChunk = () => controller.abort();
  const answer = client(url).sendMessage(REQUEST, handlers, { signal: controller.signal });
  await assert.rejects(answer.done, { name: "AbortError" });
  await closed;
  assert.equal(requests.length, 1);
  assert.deepEqual([handlers.calls.completed, handlers.calls.errors], [[], []]);
});

test("an abort ends the delay between attempts, and an aborted signal prevents the request", async (t) => {
  const { url, requests } = await scripted(t, HEAD);
  const controller = new AbortController();
  const onState = (state) => state === "reconnecting" && controller.abort(new Error("gone"));
  const chat = client(url, { retryDelay: () => 60_000 });
  await assert.rejects(chat.sendMessage(REQUEST, { onState }, { signal: controller.signal }).done, /gone/);
  await assert.rejects(chat.sendMessage(REQUEST, {}, { signal: controller.signal }).done, /gone/);
  assert.equal(requests.length, 1);
});

test("the state is offline if the browser is offline", async (t) => {
  const { url } = await scripted(t, HEAD, OK);
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
  t.after(() => {
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else delete globalThis.navigator;
  });
  const handlers = recorder();
  await client(url).sendMessage(REQUEST, handlers).done;
  assert.equal(handlers.calls.states[2], "offline");
});

test("an error in a handler is reported as uncaught, and the answer continues", async (t) => {
  const { url } = await scripted(t, OK);
  const page = `
    import { createChatClient } from ${JSON.stringify(new URL("../../web/chat-client.js", import.meta.url))};
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    const onChunk = () => { throw new Error("a bug of the page"); };
    const onComplete = ({ text }) => console.log("complete", text);
    createChatClient({ baseUrl: "${url}" }).sendMessage({ message: "Hi" }, { onChunk, onComplete });
  `;
  // The process only ends if the client leaves no timer.
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "--eval", page]);
  assert.equal((await run).stdout, "uncaught a bug of the page\ncomplete a\n");
});
