/** The client against the real functions, a real database, and a model that plays scripts. Needs CHAT_URL,
 * OTHER_URL (a second server on the same database), MOCK_URL and TOKENS, one user's each. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChatClient } from "../../web/chat-client.js";
import { breaking } from "./servers.mjs";

const { CHAT_URL, OTHER_URL, MOCK_URL, TOKENS = "" } = process.env;
const tokens = TOKENS.split(",");

/** A user of the test's own, who speaks by way of a proxy. */
async function user(t, options) {
  const token = tokens.pop();
  const proxy = await breaking(t, CHAT_URL);
  const chat = createChatClient({ baseUrl: proxy.url, getToken: () => token, ...options });
  return { token, proxy, chat };
}

function model(script) {
  return `openai/mock:${script}`;
}

/** What is stored of a conversation, as `[role, status, content]`. */
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

test("an answer is told as it is stored, and the next message goes into the same conversation", async (t) => {
  const someone = await user(t);
  const answer = someone.chat.sendMessage({ message: "Hi", model: model("odd") });
  const { conversationId, messageId, text, usage, finishReason } = await answer.done;
  assert.match(messageId, /^[0-9a-f-]{36}$/);
  assert.deepEqual([finishReason, usage.completion_tokens], ["stop", 20]);
  assert.deepEqual(await stored(someone, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  const again = await someone.chat.sendMessage({ message: "And?", conversationId, model: model("") }).done;
  assert.equal(again.conversationId, conversationId);
  assert.equal((await stored(someone, conversationId)).length, 4);
});

test("an answer whose connection breaks again and again is whole, and was asked for once", async (t) => {
  const someone = await user(t, { retryDelay: () => 10 });
  const { proxy, chat } = someone;
  proxy.pass = (count) => count < 800 || proxy.connections > 3;
  let heard = "";
  const states = [];
  const name = model("tokens=120&gap=20ms");
  const handlers = { onChunk: (text) => (heard += text), onState: (state) => states.push(state) };
  const { conversationId, text } = await chat.sendMessage({ message: "Hi", model: name }, handlers).done;
  assert.ok(states.filter((state) => state === "reconnecting").length >= 2, states.join());
  assert.equal(heard, text);
  assert.deepEqual(await stored(someone, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  assert.equal(await calls(name), 1);
});

test("an answer whose first reply is lost on its way is one answer", async (t) => {
  const someone = await user(t);
  const { proxy, chat } = someone;
  proxy.pass = () => proxy.connections > 2;
  const name = model("tokens=40&gap=20ms&input=7");
  const { conversationId, text } = await chat.sendMessage({ message: "Hi", model: name }).done;
  assert.deepEqual(await stored(someone, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
  assert.equal(await calls(name), 1);
});

test("an answer goes on from another server when the connection to the first is lost", async (t) => {
  const someone = await user(t);
  const { proxy, chat } = someone;
  proxy.pass = (count) => count < 1500 || proxy.target === OTHER_URL;
  const onState = (state) => state === "reconnecting" && (proxy.target = OTHER_URL);
  const request = { message: "Hi", model: model("tokens=60&gap=20ms") };
  const { conversationId, text } = await chat.sendMessage(request, { onState }).done;
  assert.equal(proxy.target, OTHER_URL);
  assert.deepEqual((await stored(someone, conversationId))[1], ["assistant", "complete", text]);
});

test("a stop stops the answer on the server, which keeps what came", async (t) => {
  const someone = await user(t);
  let answer;
  const onChunk = (_, lastEventId) => lastEventId > 20 && answer.stop();
  const request = { message: "Hi", model: model("tokens=500&gap=20ms") };
  answer = someone.chat.sendMessage(request, { onChunk });
  const { conversationId, text, finishReason, usage } = await answer.done;
  assert.equal(finishReason, "cancelled");
  assert.ok(usage.completion_tokens < 400);
  assert.deepEqual((await stored(someone, conversationId))[1], ["assistant", "cancelled", text]);
});

test("a page that was left comes back to the rest of its answer, and hears it end", async (t) => {
  const { chat } = await user(t);
  const leaving = new AbortController();
  let [heard, last, messageId] = ["", 0, ""];
  const onChunk = (text, lastEventId) => {
    [heard, last] = [heard + text, lastEventId];
    if (last > 100) leaving.abort();
  };
  const handlers = { onChunk, onStart: (started) => ({ messageId } = started) };
  const request = { message: "Hi", model: model("tokens=60&gap=20ms&input=9") };
  await assert.rejects(chat.sendMessage(request, handlers, { signal: leaving.signal }).done);
  const rest = await chat.resume(messageId, last).done;
  const whole = await chat.resume(messageId, 0).done;
  assert.ok(rest.text.length > 0);
  assert.equal(heard + rest.text, whole.text);
  assert.deepEqual([rest.finishReason, rest.usage], ["stop", whole.usage]);
});

test("a limit is told with the time until it is over", async (t) => {
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

test("a token that has expired is replaced without a word", async (t) => {
  const { token } = await user(t);
  const getToken = ({ refresh }) => (refresh ? token : `${token}x`);
  const chat = createChatClient({ baseUrl: CHAT_URL, getToken });
  await chat.sendMessage({ message: "Hi", model: model("") }).done;
});

test("a turn that no model began is begun again by a retry, on the same question", async (t) => {
  const someone = await user(t);
  const answer = someone.chat.sendMessage({ message: "Hi" }); // to a model that is down the first time
  await assert.rejects(answer.done, { status: 502, retryable: true });
  const { conversationId, text } = await answer.retry().done;
  assert.deepEqual(await stored(someone, conversationId), [
    ["user", "complete", "Hi"],
    ["assistant", "complete", text],
  ]);
});

test("an answer that breaks off is an error, and its text stays", async (t) => {
  const { chat } = await user(t);
  let heard = "";
  const onChunk = (text) => (heard += text);
  const answer = chat.sendMessage({ message: "Hi", model: model("cut&after=5") }, { onChunk });
  await assert.rejects(answer.done, { code: "answer_failed", retryable: false });
  assert.equal(heard, "Lorem ipsum dolor sit amet,");
});
