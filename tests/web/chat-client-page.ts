/** A page that uses the client. It is compiled, but not run. */

import { ChatError, createChatClient } from "../../web/chat-client.js";
import type { Answer, ChatRequest, Completed } from "../../web/chat-client.js";

declare const session: { access_token: string } | undefined;
declare function refreshed(): Promise<string | undefined>;

const chat = createChatClient({
  baseUrl: "https://chat.example",
  getToken: ({ refresh }) => (refresh ? refreshed() : session?.access_token),
  retryDelay: (failures) => failures * 1000,
});
const request: ChatRequest = { message: "Hi", temperature: 0.5 };
let last = 0;
const answer: Answer = chat.sendMessage(
  request,
  {
    onStart: ({ messageId, conversationId }) => sessionStorage.setItem(conversationId, messageId),
    onChunk: (text, lastEventId) => (last = lastEventId + text.length),
    onError: (error) => error.retryable && setTimeout(answer.retry, error.retryAfter * 1000),
    onState: (state) => state === "offline",
  },
  { signal: AbortSignal.timeout(60_000), idempotencyKey: "key" },
);
const { text, usage, finishReason }: Completed = await answer.done;
if (finishReason === "cancelled") await answer.stop();
chat.resume("message-1", last, { onComplete: ({ usage }) => usage?.total_tokens });
export { ChatError, text, usage };

// @ts-expect-error
chat.sendMessage({ text: "Hi" });
// @ts-expect-error
chat.resume("message-1", "7");
// @ts-expect-error
if (finishReason === "finished") throw new ChatError();
