/** The types of messages and turns, and the state of a conversation after an error. */

import { ChatError } from "../chat-client.js";

/** @typedef {"idle" | "loading" | "connecting" | "thinking" | "streaming" | "reconnecting" | "offline" |
 *   "limited" | "budget" | "busy" | "signed-out" | "failed" | "missing"} State */
/** @typedef {object} Message
 * @property {string} id @property {"user" | "assistant" | "system"} role @property {string} content
 * @property {string} status @property {Record<string, any>} metadata @property {string} created_at
 * @property {number} [token_count] @property {ChatError} [error] @property {import("./tab-storage.js").Turn} [turn] */

/** Whether the server has not confirmed the message. @param {Message} message */
export const isLocal = (message) => message.id.startsWith("local-");

/** @typedef {import("./tab-storage.js").Turn} Turn */

/** @param {string} text @param {string | null} conversationId null starts a new conversation @returns {Turn} */
export function newTurn(text, conversationId) {
  const request = { message: text, ...(conversationId && { conversationId }) };
  return { key: crypto.randomUUID(), request, at: new Date().toISOString() };
}

/** The question and the empty answer of a turn, with local ids. @param {Turn} turn
 * @returns {[Message, Message]} */
export function messagesOf({ key, request, at }) {
  const common = { metadata: {}, created_at: at };
  return [
    { ...common, id: `local-${key}`, role: "user", status: "complete", content: request.message },
    // The answer is drawn before its request is sent and must not look complete.
    { ...common, id: `local-${key}-answer`, role: "assistant", status: "streaming", content: "" },
  ];
}

/** @param {any} error */
export function stateOf(error) {
  if (!(error instanceof ChatError)) return "failed";
  if (error.status === 401 || error.status === 403) return "signed-out";
  if (error.code === "budget_exceeded") return "budget";
  if (error.status === 429) return "limited";
  if (error.status === 404) return "missing";
  return error.status === 409 ? "busy" : "failed";
}
