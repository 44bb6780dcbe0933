/** The client parses event streams, wherever the reads split them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChatClient } from "../../web/chat-client.js";

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "x-message-id": "message-1",
  "x-conversation-id": "conversation-1",
};
const END = 'data: {"type":"done","messageId":"message-1","usage":{}}\n\n';

/** The answer that the client reads from these pieces, one per read. */
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

test("an answer that is split at any byte is the same answer", async () => {
  for (let at = 0; at <= ODD.length; at += 1) {
    const { chunks, text } = await answerOf(ODD.subarray(0, at), ODD.subarray(at));
    assert.deepEqual(chunks, ODD_CHUNKS, `cut at ${at}`);
    assert.equal(text, "Grü日本🦉\n:\u2028");
  }
});

test("an answer in single bytes is the same answer", async () => {
  const { chunks } = await answerOf(...[...ODD].map((byte) => [byte]));
  assert.deepEqual(chunks, ODD_CHUNKS);
});

test("LF, CR and CR LF end a line, also if CR LF is split", async () => {
  const lines = ["id: 1", 'data: {"type":"token",', 'data: "content":"a"}', "", END.slice(0, -2), "", ""];
  for (const end of ["\n", "\r", "\r\n"]) {
    assert.deepEqual((await answerOf(lines.join(end))).chunks, [["a", 1]]);
  }
  const pieces = lines.flatMap((line) => [`${line}\r`, "", "\n"]);
  assert.deepEqual((await answerOf(...pieces)).chunks, [["a", 1]]);
});

test("an event without its empty line is ignored", async () => {
  const failing = answerOf('id: 1\ndata: {"type":"token","content":"a"}\n\n', END.slice(0, -1));
  await assert.rejects(failing, { name: "ChatError", code: "connection_lost", retryable: true });
});

test("data that is not JSON is handled as a lost connection", async () => {
  await assert.rejects(answerOf("data: <html>\n\n", END), { code: "connection_lost" });
});
