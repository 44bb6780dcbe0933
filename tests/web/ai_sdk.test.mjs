/** The AI SDK, versions 5, 6 and 7, with the real functions: the chat of `useChat` without React, and its
 * transport. Needs CHAT_URL and TOKENS, one per user. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";

import { breaking } from "./servers.mjs";

const { CHAT_URL, TOKENS = "" } = process.env;
const tokens = TOKENS.split(",");
const WARM = "Coach is taking a moment. Let's try again.";

/** The state of a chat, in options of React's. */
class State {
  #status = "ready";
  #messages;
  error = undefined;
  statuses = [];

  constructor(messages) {
    this.#messages = messages;
  }
  get status() {
    return this.#status;
  }
  set status(status) {
    this.#status = status;
    this.statuses.push(status);
  }
  get messages() {
    return this.#messages;
  }
  set messages(messages) {
    this.#messages = messages;
  }
  snapshot = (thing) => structuredClone(thing);
  pushMessage = (message) => (this.#messages = [...this.#messages, this.snapshot(message)]);
  popMessage = () => (this.#messages = this.#messages.slice(0, -1));
  replaceMessage = (index, message) => (this.#messages = this.#messages.with(index, this.snapshot(message)));
}

/** If a connection breaks during an answer, throws the error of browsers, which the SDK recognizes. Node's
 * error is "terminated". */
async function fetchAsBrowsersDo(...request) {
  const response = await fetch(...request);
  if (!response.ok || !response.body) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(error.name === "TypeError" ? new TypeError("network error") : error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, response);
}

/** A page with a chat. `finished` are the calls of `onFinish`, `statuses` the statuses so far. */
function open({ ai, id, token, url = CHAT_URL, model = "tokens=12&thinking=3", messages = [], prepare }) {
  class Chat extends ai.AbstractChat {}
  const state = new State(messages);
  const finished = [];
  const transport = new ai.DefaultChatTransport({
    api: `${url}/api/ui/chat`,
    headers: { Authorization: `Bearer ${token}` },
    body: { model: `nvidia/mock:${model}` },
    fetch: fetchAsBrowsersDo,
    prepareSendMessagesRequest: prepare,
  });
  const chat = new Chat({ id, state, transport, onFinish: (end) => finished.push(end) });
  return Object.assign(chat, { statuses: state.statuses, finished });
}

function texts(message, type = "text") {
  return message.parts.filter((part) => part.type === type).map((part) => part.text);
}

/** The stored messages of the user's only chat. */
async function stored(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const list = await (await fetch(`${CHAT_URL}/api/chat/conversations`, { headers })).json();
  assert.equal(list.conversations.length, 1);
  const path = `${CHAT_URL}/api/chat/conversations/${list.conversations[0].id}/messages`;
  const { messages } = await (await fetch(path, { headers })).json();
  return messages.map(({ id, role, status, content }) => ({ id, role, status, content }));
}

async function settled(token) {
  for (;;) {
    const messages = await stored(token);
    if (messages.every(({ status }) => status !== "streaming")) return messages;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function until(happened) {
  while (!happened()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function once(message) {
  const [text, ...more] = texts(message);
  assert.deepEqual(more, []);
  return text;
}

for (const [version, ai] of Object.entries({ 5: ai5, 6: ai6, 7: ai7 })) {
  const on = (name, run, options = {}) => test(`ai ${version}: ${name}`, options, run);
  const page = (more) => ({ ai, id: `chat of ${version}`, token: tokens.pop(), ...more });

  on("an answer is streamed with its reasoning, and a second turn follows", async () => {
    const one = page();
    const chat = open(one);
    await chat.sendMessage({ text: "Hi" });
    assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
    assert.deepEqual(chat.statuses, ["submitted", "streaming", "ready"]);
    const [question, answer] = await stored(one.token);
    assert.deepEqual([question.content, answer.status], ["Hi", "complete"]);
    assert.equal(chat.lastMessage.id, answer.id);
    assert.deepEqual(texts(chat.lastMessage), [answer.content]);
    assert.equal(texts(chat.lastMessage, "reasoning").length, 1);
    assert.ok(chat.lastMessage.parts.every((part) => !part.state || part.state === "done"));
    const [{ finishReason, isAbort, isError, isDisconnect }] = chat.finished;
    assert.deepEqual([finishReason, isAbort, isError, isDisconnect], ["stop", false, false, false]);

    await chat.sendMessage({ text: "And?" });
    const roles = ["user", "assistant", "user", "assistant"];
    assert.deepEqual((await stored(one.token)).map(({ role }) => role), roles);
    assert.deepEqual(chat.messages.map(({ role }) => role), roles);
  });

  on("a message that is sent twice is stored as one turn", async () => {
    const one = page();
    const message = { id: "m1", role: "user", parts: [{ type: "text", text: "Hi" }] };
    const [first, second] = [open(one), open(one)];
    await first.sendMessage(message);
    await second.sendMessage(message);
    assert.equal(second.lastMessage.id, first.lastMessage.id);
    assert.deepEqual(texts(second.lastMessage), texts(first.lastMessage));
    assert.equal((await stored(one.token)).length, 2);
  });

  on("stop keeps the text so far, and cancel stops the answer on the server", async () => {
    const one = page({ model: "tokens=500&gap=20ms" });
    const chat = open(one);
    const sent = chat.sendMessage({ text: "Hi" });
    await until(() => chat.lastMessage?.role === "assistant" && texts(chat.lastMessage).length);
    await chat.stop();
    await sent;
    assert.equal(chat.status, "ready");
    assert.equal(chat.finished[0].isAbort, true);
    const headers = { Authorization: `Bearer ${one.token}` };
    const cancel = `${CHAT_URL}/api/chat/messages/${chat.lastMessage.id}/cancel`;
    assert.ok((await fetch(cancel, { method: "POST", headers })).ok);
    const [, answer] = await settled(one.token);
    assert.equal(answer.status, "cancelled");
    assert.ok(answer.content.startsWith(once(chat.lastMessage)));
  });

  on("a stop before the first token names the chat, and a message sent at once is answered", async () => {
    const one = page({ model: "tokens=5&first=20" });
    const stopped = open(one);
    const sent = stopped.sendMessage({ text: "one" });
    await until(() => stopped.messages.length === 1 && stopped.status !== "ready");
    const headers = { Authorization: `Bearer ${one.token}` };
    const cancel = `${CHAT_URL}/api/chat/conversations/${one.id}/cancel`;
    // The request of the turn can arrive after that of the stop.
    while (!(await fetch(cancel, { method: "POST", headers })).ok);
    await stopped.stop();
    await sent;
    const chat = open({ ...one, model: "tokens=12", messages: stopped.messages });
    await chat.sendMessage({ text: "two" });
    assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
    const messages = await settled(one.token);
    assert.deepEqual(
      messages.map(({ role, status }) => `${role} ${status}`),
      ["user complete", "assistant cancelled", "user complete", "assistant complete"],
    );
    assert.deepEqual([messages[2].content, messages[3].id], ["two", chat.lastMessage.id]);
  });

  on("an edited message is refused and stores nothing", async () => {
    const one = page();
    const chat = open(one);
    await chat.sendMessage({ text: "one" });
    const before = await stored(one.token);
    await chat.sendMessage({ text: "another one", messageId: chat.messages[0].id });
    assert.equal(chat.status, "error");
    const { code, field } = JSON.parse(chat.error.message);
    assert.deepEqual([code, field], ["invalid_request", "messageId"]);
    assert.deepEqual(await stored(one.token), before);
  });

  // The bodies of github.com/vercel/chatbot (components/chat.tsx), and of assistant-ui's
  // AssistantChatTransport for a thread without and with a model context.
  const bodies = {
    "vercel/chatbot": ({ id, messages, body }) => ({
      id,
      message: messages.at(-1),
      selectedChatModel: body.model,
      selectedVisibilityType: "private",
      ...body,
    }),
    "assistant-ui": ({ id, messages, trigger, messageId, requestMetadata: metadata, body }) => ({
      callSettings: undefined,
      system: undefined,
      config: undefined,
      tools: {},
      ...body,
      ...{ id, messages, trigger, messageId, metadata },
    }),
    "assistant-ui with a context": ({ id, messages, trigger, messageId, body: { model } }) => ({
      callSettings: { temperature: 0.5, maxTokens: 100 },
      system: "Be kind.",
      config: { modelName: model },
      tools: {},
      ...{ id, messages, trigger, messageId },
    }),
  };
  for (const [client, body] of Object.entries(bodies)) {
    on(`the body of ${client} is accepted`, async () => {
      const one = page({ prepare: (options) => ({ body: body(options) }) });
      const chat = open(one);
      for (const text of ["one", "two"]) await chat.sendMessage({ text });
      assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
      const messages = await stored(one.token);
      assert.deepEqual(messages.map(({ role }) => role), ["user", "assistant", "user", "assistant"]);
      assert.equal(messages[3].content, once(chat.lastMessage));
    });
  }

  on("a second page sees the end of an answer that the first page cancels", async () => {
    const one = page({ model: "tokens=500&gap=20ms" });
    const [writer, watcher] = [open(one), open(one)];
    const sent = writer.sendMessage({ text: "Hi" });
    await until(() => writer.lastMessage?.role === "assistant");
    const watching = watcher.resumeStream();
    const headers = { Authorization: `Bearer ${one.token}` };
    await fetch(`${CHAT_URL}/api/chat/messages/${writer.lastMessage.id}/cancel`, { method: "POST", headers });
    await Promise.all([sent, watching]);
    const [, answer] = await stored(one.token);
    for (const chat of [writer, watcher]) {
      assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
      assert.equal(chat.finished[0].finishReason, "other");
      assert.deepEqual([chat.lastMessage.id, once(chat.lastMessage)], [answer.id, answer.content]);
    }
  });

  on("after a lost connection the same page resumes without repeated text", async (t) => {
    const proxy = await breaking(t, CHAT_URL);
    proxy.pass = (count) => count < 1200 || proxy.connections > 1;
    const one = page({ model: "tokens=60&gap=20ms", url: proxy.url });
    const chat = open(one);
    await chat.sendMessage({ text: "Hi" });
    assert.deepEqual([chat.status, chat.finished[0].isDisconnect], ["error", true]);
    const before = once(chat.lastMessage);
    assert.ok(before.length > 10);
    await chat.resumeStream();
    assert.deepEqual([chat.status, chat.error, chat.messages.length], ["ready", undefined, 2]);
    const [, answer] = await stored(one.token);
    assert.equal(answer.status, "complete");
    assert.ok(answer.content.startsWith(before));
    assert.deepEqual([chat.lastMessage.id, once(chat.lastMessage)], [answer.id, answer.content]);
  }, { skip: version === "5" && "version 5 appends the resumed answer to the text so far" });

  on("a page that is opened again resumes an answer after a lost connection", async (t) => {
    const proxy = await breaking(t, CHAT_URL);
    proxy.pass = (count) => count < 1200 || proxy.connections > 1;
    const one = page({ model: "tokens=60&gap=20ms", url: proxy.url });
    const cut = open(one);
    await cut.sendMessage({ text: "Hi" });
    const chat = open({ ...one, messages: structuredClone(cut.messages) });
    await chat.resumeStream();
    assert.deepEqual([chat.status, chat.error, chat.messages.length], ["ready", undefined, 2]);
    const [, answer] = await stored(one.token);
    assert.deepEqual([chat.lastMessage.id, once(chat.lastMessage)], [answer.id, answer.content]);
  });

  on("without a running answer a resume changes nothing", async () => {
    const one = page();
    const chat = open(one);
    await chat.resumeStream();
    await chat.sendMessage({ text: "Hi" });
    const before = structuredClone(chat.messages);
    await chat.resumeStream();
    assert.equal(chat.status, "ready");
    assert.deepEqual(chat.messages, before);
  });

  on("a failed answer is an error, keeps its text, and can be regenerated", async () => {
    const one = page({ model: "tokens=12&after=5&fault=truncate" });
    const broken = open(one);
    await broken.sendMessage({ text: "Hi" });
    assert.deepEqual([broken.status, broken.error.message], ["error", WARM]);
    assert.equal(broken.finished[0].isError, true);
    assert.equal(once(broken.lastMessage).split(" ").length, 5);
    assert.ok(broken.lastMessage.parts.every((part) => !part.state || part.state === "done"));

    const chat = open({ ...one, model: "tokens=12", messages: broken.messages });
    await chat.regenerate();
    assert.equal(chat.status, "ready");
    const [question, answer, ...more] = await stored(one.token);
    assert.deepEqual([question.content, answer.status, more], ["Hi", "complete", []]);
    assert.deepEqual([chat.messages.length, once(chat.lastMessage)], [2, answer.content]);
  });

  on("a regenerated answer replaces the old answer", async () => {
    const one = page();
    const chat = open(one);
    await chat.sendMessage({ text: "one" });
    await chat.sendMessage({ text: "two" });
    const [, first, , second] = chat.messages.map(({ id }) => id);
    await chat.regenerate();
    assert.notEqual(chat.lastMessage.id, second);
    let now = await stored(one.token);
    assert.deepEqual(now.map(({ content }) => content).filter((_, at) => at % 2 === 0), ["one", "two"]);
    assert.equal(now[3].id, chat.lastMessage.id);

    await chat.regenerate({ messageId: first });
    now = await stored(one.token);
    assert.deepEqual([now.length, chat.messages.length], [2, 2]);
    assert.deepEqual([now[1].id, now[1].content], [chat.lastMessage.id, once(chat.lastMessage)]);
  });

  on("a refusal is an error with the JSON of the server's error as its message", async () => {
    const chat = open(page({ token: "nonsense" }));
    await chat.sendMessage({ text: "Hi" });
    assert.equal(chat.status, "error");
    const { code, userMessage } = JSON.parse(chat.error.message);
    assert.equal(code, "unauthorized");
    assert.equal(userMessage, "I had trouble remembering you. Please sign in again.");
  });

  on("regenerate sends a question that was refused", async () => {
    const one = page();
    const talk = open(one);
    await talk.sendMessage({ text: "one" });
    const refused = { id: "m2", role: "user", parts: [{ type: "text", text: "two" }] };
    for (const [options, history, questions] of [
      [one, talk.messages, ["one", "two"]],
      [page(), [], ["two"]],
    ]) {
      const chat = open({ ...options, messages: [...structuredClone(history), refused] });
      await chat.regenerate();
      assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
      const now = await stored(options.token);
      assert.deepEqual(now.filter(({ role }) => role === "user").map(({ content }) => content), questions);
      assert.equal(now.length, 2 * questions.length);
    }
  });

  on("the transport and readUIMessageStream read the stream", async () => {
    const one = page();
    const transport = new ai.DefaultChatTransport({
      api: `${CHAT_URL}/api/ui/chat`,
      headers: { Authorization: `Bearer ${one.token}` },
    });
    const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "Hi" }] }];
    const stream = await transport.sendMessages({ chatId: one.id, messages, trigger: "submit-message" });
    let last;
    for await (const message of ai.readUIMessageStream({ stream })) last = message;
    const [, answer] = await stored(one.token);
    assert.deepEqual([last.id, once(last)], [answer.id, answer.content]);
  });
}
