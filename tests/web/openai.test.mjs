/** OpenAI's SDK for Node with `/v1`. Needs CHAT_URL, LIMITED_URL (a server that allows one turn per minute) and
 * TOKENS, one per user. */

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const { CHAT_URL, LIMITED_URL, TOKENS = "" } = process.env;
const tokens = TOKENS.split(",");
const MODEL = "nvidia/mock:tokens=12";
const request = { model: MODEL, messages: [{ role: "user", content: "Hi" }] };

function sdk({ url = CHAT_URL, apiKey = tokens.pop() } = {}) {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
}

async function pieces(stream) {
  const received = [];
  for await (const chunk of stream) received.push(chunk.choices[0]?.delta.content ?? "");
  return received;
}

test("an answer without streaming has text, usage and finish reason", async () => {
  const answer = await sdk().chat.completions.create(request);
  const [{ message, finish_reason }] = answer.choices;
  assert.equal(message.content.split(" ").length, 12);
  assert.deepEqual([answer.object, answer.model, finish_reason], ["chat.completion", MODEL, "stop"]);
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.deepEqual([prompt_tokens, completion_tokens, total_tokens], [12, 12, 24]);
});

test("a stream has the same text, and usage on request", async () => {
  const client = sdk();
  const whole = (await client.chat.completions.create(request)).choices[0].message.content;
  assert.equal((await pieces(await client.chat.completions.create({ ...request, stream: true }))).join(""), whole);
  const options = { ...request, stream: true, stream_options: { include_usage: true } };
  const chunks = [];
  for await (const chunk of await client.chat.completions.create(options)) chunks.push(chunk);
  const last = chunks.at(-1);
  assert.deepEqual([last.choices, last.usage.total_tokens], [[], 24]);
  assert.equal(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size, 1);
});

test("the SDK's stream helper collects the text", async () => {
  const stream = sdk().chat.completions.stream(request);
  let received = "";
  stream.on("content", (delta) => (received += delta));
  assert.equal(await stream.finalContent(), received);
  assert.equal(received.split(" ").length, 12);
});

test("aborting a stream is not an error", async () => {
  const model = "nvidia/mock:tokens=500&gap=20ms";
  const stream = await sdk().chat.completions.create({ ...request, model, stream: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) stream.controller.abort();
});

test("the models are listed", async () => {
  const ids = [];
  for await (const { id } of sdk().models.list()) ids.push(id);
  assert.deepEqual(ids, [MODEL]);
});

test("refusals are exceptions of the SDK", async () => {
  const wrong = { apiKey: "nonsense" };
  await assert.rejects(sdk(wrong).chat.completions.create(request), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.deepEqual([error.type, error.code], ["authentication_error", "unauthorized"]);
    return true;
  });
  await assert.rejects(sdk().chat.completions.create({ ...request, n: 2 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.type], ["n", "invalid_request_error"]);
    return true;
  });
  const limited = sdk({ url: LIMITED_URL });
  await limited.chat.completions.create(request);
  await assert.rejects(limited.chat.completions.create(request), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.deepEqual([error.type, error.code], ["rate_limit_error", "rate_limited"]);
    return Number(error.headers.get("retry-after")) > 0;
  });
});

test("an answer that fails throws an error from the stream", async () => {
  const model = "nvidia/mock:tokens=12&after=5&fault=truncate";
  const stream = await sdk().chat.completions.create({ ...request, model, stream: true });
  const broken = { message: "Coach is taking a moment. Let's try again.", code: "upstream_truncated" };
  await assert.rejects(pieces(stream), (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.deepEqual({ message: error.error.message, code: error.code }, broken);
    return true;
  });
});
