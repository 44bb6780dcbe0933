/** `eventsource-parser` reads the same text in every dialect. Needs CHAT_URL and TOKENS. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventSourceParserStream } from "eventsource-parser/stream";

const { CHAT_URL, TOKENS = "" } = process.env;
const [token] = TOKENS.split(",");
const messages = [{ role: "user", content: "Hi" }];
const parts = [{ type: "text", text: "Hi" }];

const content = ({ data }) => (data === "[DONE]" ? [] : [JSON.parse(data).content]);

/** The request body, and a function that returns the text in an event. A body with ids is one turn, also if it
 * is sent again. */
const DIALECTS = {
  "/chat-stream": [{ message: "Hi" }, ({ data }) => [JSON.parse(data).content]],
  "/stream-chat": [{ messages }, content],
  "/api/chat": [{ messages, chunk_words: 3 }, content],
  "/api/stream": [
    { messages },
    ({ event, data }) => (event === "message-chunk" ? [JSON.parse(data).content] : []),
  ],
  "/v1/chat/completions": [
    { messages, stream: true },
    ({ data }) => (data === "[DONE]" ? [] : JSON.parse(data).choices.map(({ delta }) => delta.content)),
  ],
  "/api/ui/chat": [
    { id: "chat", messages: [{ role: "user", parts }], trigger: "submit-message" },
    ({ data }) => (data === "[DONE]" ? [] : [JSON.parse(data).delta]),
  ],
};

async function read(route, model) {
  const [body, pieces] = DIALECTS[route];
  const response = await fetch(CHAT_URL + route, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, model }),
  });
  assert.equal(response.status, 200);
  const stream = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const events = [];
  for await (const event of stream) events.push(event);
  return { events, text: events.flatMap(pieces).join("") };
}

for (const script of ["tokens=12", "odd"]) {
  test(`every dialect has the same text: ${script}`, async () => {
    const [first, ...others] = Object.keys(DIALECTS);
    const { text: expected } = await read(first, `nvidia/mock:${script}`);
    assert.ok(expected.length > 50);
    for (const route of others) {
      const { events, text } = await read(route, `nvidia/mock:${script}`);
      assert.ok(events.length > 4, route);
      assert.equal(text, expected, route);
    }
  });
}

test("heartbeats are not events", async () => {
  for (const route of Object.keys(DIALECTS)) {
    const { events } = await read(route, "nvidia/mock:tokens=3&gap=150ms");
    assert.ok(events.every(({ data }) => data), route);
  }
});

test("only events of the native format have ids", async () => {
  for (const route of Object.keys(DIALECTS)) {
    const { events, text } = await read(route, "nvidia/mock:tokens=5");
    const ids = events.map(({ id }) => id).filter((id) => id !== undefined);
    if (route !== "/chat-stream") assert.deepEqual(ids, [], route);
    else assert.deepEqual(ids.slice(-2), [`${text.length}`, `${text.length}.end`]);
  }
});
