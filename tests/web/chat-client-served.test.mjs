/** The client with the real functions, a real database, and the mock provider. Needs CHAT_URL, OTHER_URL (a
 * second server with the same database), MOCK_URL and TOKENS, one per user. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChatClient } from "../../web/chat-client.js";
import { breaking } from "./servers.mjs";

const { CHAT_URL, OTHER_URL, MOCK_URL, TOKENS = "" } = process.env;
const tokens = TOKENS.split(",");

/** A new user whose client connects through a proxy. */
async function user(t, options) {
  const token = tokens.pop();
  const proxy = await breaking(t, CHAT_URL);
  const chat = createChatClient({ baseUrl: proxy.url, getToken: () => token, ...options });
  return { token, proxy, chat };
}

function model(script) {
  return `openai/mock:${script}`;
}

/** The stored messages of a conversation, as `[role, status, content]`. */
async function stored({ token }, conversationId) {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${CHAT_URL}/api/chat/conversations/${conversationId}/messages`, { headers });
  const { messages } = await response.json();
  return messages.map(({ role, status, content }) => [role, status, content]);
}

async function calls(name) {
  const stats = await (await fetch(`${MOCK_URL}/_mock/stats`)).json();
  return stats.hits_by_model[name.replace("openai/", "")];
}

test("an answer equals the stored answer, and the next message is in the same conversation", async (t) => {
  const client = await user(t);
  const answer = client.chat.sendMessage({ message: "Hi", model: model("odd") });
  const { conversationId, messageId, text, usage, finishReason } = await answer.done;
  assert.match(messageId, /^[0-9a-f-]{36}$/);
  assert.deepEqual([finishReason, usage.completion_tokens], ["stop", 20]);
  assert.deepEqual(await stored(client, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  const again = await client.chat.sendMessage({ message: "And?", conversationId, model: model("") }).done;
  assert.equal(again.conversationId, conversationId);
  assert.equal((await stored(client, conversationId)).length, 4);
});

test("an answer over several broken connections is complete, and the model is called once", async (t) => {
  const client = await user(t, { retryDelay: () => 10 });
  const { proxy, chat } = client;
  proxy.pass = (count) => count < 800 || proxy.connections > 3;
  let received = "";
  const states = [];
  const name = model("tokens=120&gap=20ms");
  const handlers = { onChunk: (text) => (received += text), onState: (state) => states.push(state) };
  const { conversationId, text } = await chat.sendMessage({ message: "Hi", model: name }, handlers).done;
  assert.ok(states.filter((state) => state === "reconnecting").length >= 2, states.join());
  assert.equal(received, text);
  assert.deepEqual(await stored(client, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  assert.equal(await calls(name), 1);
});

test("a turn whose first response is lost is stored once", async (t) => {
  const client = await user(t);
  const { proxy, chat } = client;
  proxy.pass = () => proxy.connections > 2;
  const name = model("tokens=40&gap=20ms&input=7");
  const { conversationId, text } = await chat.sendMessage({ message: "Hi", model: name }).done;
  assert.deepEqual(await stored(client, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  assert.equal(await calls(name), 1);
});

test("another server continues an answer after a lost connection", async (t) => {
  const client = await user(t);
  const { proxy, chat } = client;
  proxy.pass = (count) => count < 1500 || proxy.target === OTHER_URL;
  const onState = (state) => state === "reconnecting" && (proxy.target = OTHER_URL);
  const request = { message: "Hi", model: model("tokens=60&gap=20ms") };
  const { conversationId, text } = await chat.sendMessage(request, { onState }).done;
  assert.equal(proxy.target, OTHER_URL);
  assert.deepEqual((await stored(client, conversationId))[1], ["assistant", "complete", text]);
});

test("stop stops the answer on the server, which keeps its text", async (t) => {
  const client = await user(t);
  let answer;
  const onChunk = (_, lastEventId) => lastEventId > 20 && answer.stop();
  const request = { message: "Hi", model: model("tokens=500&gap=20ms") };
  answer = client.chat.sendMessage(request, { onChunk });
  const { conversationId, text, finishReason, usage } = await answer.done;
  assert.equal(finishReason, "cancelled");
  assert.ok(usage.completion_tokens < 400);
  assert.deepEqual((await stored(client, conversationId))[1], ["assistant", "cancelled", text]);
});

test("after an abort `resume` reads the rest of the answer and its end", async (t) => {
  const { chat } = await user(t);
  const controller = new AbortController();
  let [received, last, messageId] = ["", 0, ""];
  const onChunk = (text, lastEventId) => {
    [received, last] = [received + text, lastEventId];
    if (last > 100) controller.abort();
  };
  const handlers = { onChunk, onStart: (started) => ({ messageId } = started) };
  const request = { message: "Hi", model: model("tokens=60&gap=20ms&input=9") };
  await assert.rejects(chat.sendMessage(request, handlers, { signal: controller.signal }).done);
  const rest = await chat.resume(messageId, last).done;
  const whole = await chat.resume(messageId, 0).done;
  assert.ok(rest.text.length > 0);
  assert.equal(received + rest.text, whole.text);
  assert.deepEqual([rest.finishReason, rest.usage], ["stop", whole.usage]);
});

test("a rate limit error has the seconds until the next attempt", async (t) => {
  const { chat } = await user(t);
  const request = { message: "Hi", model: model("tokens=1") };
  for (let sent = 0; sent < 3; sent += 1) await chat.sendMessage(request).done;
  const refused = { status: 429, code: "rate_limited", retryable: true };
  await assert.rejects(chat.sendMessage(request).done, (error) => {
    assert.ok(error.retryAfter > 0 && error.retryAfter <= 60);
    assert.match(error.userMessage, /breath/);
    return Object.entries(refused).every(([name, value]) => error[name] === value);
  });
});

test("a refused token is replaced without an error", async (t) => {
  const { token } = await user(t);
  const getToken = ({ refresh }) => (refresh ? token : `${token}x`);
  const chat = createChatClient({ baseUrl: CHAT_URL, getToken });
  await chat.sendMessage({ message: "Hi", model: model("") }).done;
});

test("a retry of a turn without an answer keeps the question", async (t) => {
  const client = await user(t);
  const answer = client.chat.sendMessage({ message: "Hi" }); // the first request to this model fails
  await assert.rejects(answer.done, { status: 502, retryable: true });
  const { conversationId, text } = await answer.retry().done;
  assert.deepEqual(await stored(client, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
});

test("a failed answer is an error and keeps its text", async (t) => {
  const { chat } = await user(t);
  let received = "";
  const onChunk = (text) => (received += text);
  const answer = chat.sendMessage({ message: "Hi", model: model("cut&after=5") }, { onChunk });
  await assert.rejects(answer.done, { code: "answer_failed", retryable: false });
  assert.equal(received, "Lorem ipsum dolor sit amet,");
});
