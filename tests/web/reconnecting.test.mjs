/** Libraries that connect again by themselves and repeat their POST with `Last-Event-ID`, behind a proxy that
 * breaks connections, against the real functions. Needs CHAT_URL and TOKENS, one for each user. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createEventSource } from "eventsource-client";

import { breaking } from "./servers.mjs";

const { CHAT_URL, TOKENS = "" } = process.env;
const tokens = TOKENS.split(",");
const MODEL = "nvidia/mock:tokens=60&gap=20ms";

/** The request of a new user: the same for each try. */
function request(token, key) {
  return {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token}`,
      "Content-Type": "application/json",
      ...(key && { "Idempotency-Key": key }),
    },
    body: JSON.stringify({ message: "Hi", model: MODEL }),
  };
}

/** The messages of the user's only conversation. */
async function stored(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const get = async (path) => (await fetch(CHAT_URL + path, { headers })).json();
  const { conversations } = await get("/api/chat/conversations");
  assert.equal(conversations.length, 1);
  return (await get(`/api/chat/conversations/${conversations[0].id}/messages`)).messages;
}

/** Reads with eventsource-client until it closes itself. Returns the data of the events. */
function readWithEventSourceClient(url, init) {
  const events = [];
  const statuses = [];
  return new Promise((resolve) => {
    createEventSource({
      url,
      ...init,
      fetch: async (...call) => {
        const response = await fetch(...call);
        statuses.push(response.status);
        return response;
      },
      onMessage: ({ data }) => events.push(JSON.parse(data)),
      onDisconnect: () => statuses.at(-1) === 204 && resolve({ events, statuses }),
    });
  });
}

/** Reads with fetch-event-source, which needs the globals of a browser. 204 is the end. */
async function readWithFetchEventSource(url, init) {
  Object.assign(globalThis, { window: globalThis, document: new EventTarget() });
  const { fetchEventSource } = await import("@microsoft/fetch-event-source/lib/cjs/index.js");
  const events = [];
  const statuses = [];
  class End extends Error {}
  await fetchEventSource(url, {
    ...init,
    openWhenHidden: true,
    async onopen(response) {
      statuses.push(response.status);
      if (response.status === 204) throw new End();
    },
    onmessage: ({ data }) => data && events.push(JSON.parse(data)),
    onclose() {
      throw new Error("connect again, until the server says 204");
    },
    onerror(error) {
      if (error instanceof End) throw error;
      return 10;
    },
  }).catch((error) => assert.ok(error instanceof End, error));
  return { events, statuses };
}

for (const [name, read] of [
  ["eventsource-client", readWithEventSourceClient],
  ["fetch-event-source", readWithFetchEventSource],
]) {
  for (const key of [undefined, "one-key"]) {
    const keyed = key ? "with a key" : "without a key";
    test(`${name} ${keyed} continues after each cut, and ends after the last event`, async (t) => {
      const token = tokens.pop();
      const proxy = await breaking(t, CHAT_URL);
      // The first connection breaks in the text, the second one too.
      proxy.pass = (count) => count < 1000 || proxy.connections > 2;
      const { events, statuses } = await read(`${proxy.url}/chat-stream`, request(token, key));
      const [, answer, ...more] = await stored(token);
      assert.deepEqual(more, []);
      assert.equal(answer.status, "complete");
      const text = events.map(({ content = "" }) => content).join("");
      assert.equal(text, answer.content);
      assert.deepEqual(events.filter(({ type }) => type === "done").length, 1);
      assert.equal(statuses.at(-1), 204);
      assert.ok(statuses.length >= 3, `${statuses}`);
      assert.ok(statuses.slice(0, -1).every((status) => status === 200), `${statuses}`);
    });
  }
}
