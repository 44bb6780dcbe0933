/** What the client reads of an event stream, whatever pieces it comes in. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChatClient } from "../../web/chat-client.js";

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "x-message-id": "message-1",
  "x-conversation-id": "conversation-1",
};
const END = 'data: {"type":"done","messageId":"message-1","usage":{}}\n\n';

/** The answer that the client makes of these pieces, each one read. */
async function answerOf(...pieces) {
  const body = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(Buffer.from(piece));
      controller.close();
    },
  });
  const chunks = [];
  const chat = createChatClient({ fetch: async () => new Response(body, { headers: HEADERS }), retries: 0 });
  const onChunk = (text, lastEventId) => chunks.push([text, lastEventId]);
  const completed = await chat.sendMessage({ message: "Hi" }, { onChunk }).done;
  return { chunks, text: completed.text };
}

const ODD = Buffer.from(
  "\uFEFF: hello\r\n\r\n" +
    'id: 3\ndata: {"type":"token","content":"Grü"}\n\n' +
    ": ping\n\n" +
    'id:6\rdata:{"type":"token",\rdata:"content":"日本🦉"}\r\r' +
    'event: message\r\nid: 8\r\nretry: 10\r\nfoo\r\ndata: {"type":"token","content":"\\n:"}\r\n\r\n' +
    'id: 9\ndata: {"type":"token","content":"\u2028"}\n\n' +
    'data: {"type":"unheard-of","content":"x"}\n\n' +
    END,
);
const ODD_CHUNKS = [
  ["Grü", 3],
  ["日本🦉", 6],
  ["\n:", 8],
  ["\u2028", 9],
];

test("an answer cut in two at any byte is the same answer", async () => {
  for (let at = 0; at <= ODD.length; at += 1) {
    const { chunks, text } = await answerOf(ODD.subarray(0, at), ODD.subarray(at));
    assert.deepEqual(chunks, ODD_CHUNKS, `cut at ${at}`);
    assert.equal(text, "Grü日本🦉\n:\u2028");
  }
});

test("an answer that comes byte by byte is the same answer", async () => {
  const { chunks } = await answerOf(...[...ODD].map((byte) => [byte]));
  assert.deepEqual(chunks, ODD_CHUNKS);
});

test("every line end is one, and CR LF is one even in two pieces with nothing between", async () => {
  const lines = ["id: 1", 'data: {"type":"token",', 'data: "content":"a"}', "", END.slice(0, -2), "", ""];
  for (const end of ["\n", "\r", "\r\n"]) {
    assert.deepEqual((await answerOf(lines.join(end))).chunks, [["a", 1]]);
  }
  const pieces = lines.flatMap((line) => [`${line}\r`, "", "\n"]);
  assert.deepEqual((await answerOf(...pieces)).chunks, [["a", 1]]);
});

test("a last event without its empty line is none", async () => {
  const failing = answerOf('id: 1\ndata: {"type":"token","content":"a"}\n\n', END.slice(0, -1));
  await assert.rejects(failing, { name: "ChatError", code: "connection_lost", retryable: true });
});

test("what is no JSON breaks the connection and not the page", async () => {
  await assert.rejects(answerOf("data: <html>\n\n", END), { code: "connection_lost" });
});
