/** Converts an error response to the error that the chat client throws for it. */

import { ChatError } from "../chat-client.js";

/** @param {Response} response */
export async function responseError(response) {
  const body = Object(await response.json().catch(() => null));
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  return new ChatError(body.error ?? `HTTP ${response.status}`, {
    code: `http_${response.status}`,
    ...body,
    status: response.status,
    retryAfter,
    retryable: response.status === 429 || response.status >= 500,
  });
}
