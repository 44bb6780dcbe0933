/** The API's routes, except the streamed one. */

import { ChatError } from "../chat-client.js";
import { responseError } from "./response-error.js";

const ROOT = "/api/chat";

/** @typedef {{ cursor?: string | null, limit?: number, signal?: AbortSignal }} Page */

/** @param {import("./session.js").Session} session */
export function createApi(session) {
  /** @param {string} method @param {string} path @param {unknown} [body] @param {RequestInit} [init] */
  async function call(method, path, body, init = {}) {
    const { token } = session;
    // A visitor becomes a guest with the first message. Before that there is nothing to read.
    if (!token) throw new ChatError("not signed in", { status: 403, code: "forbidden", retryable: false });
    const headers = {
      Authorization: `Bearer ${token}`,
      ...(body !== undefined && { "Content-Type": "application/json" }),
    };
    /** @type {RequestInit} */
    const request = { method, headers, body: JSON.stringify(body), cache: "no-store", ...init };
    const response = await fetch(path, request).catch((cause) => {
      init.signal?.throwIfAborted();
      throw new ChatError("connection lost", { cause });
    });
    if (response.ok) return response;
    // Ignores the refusal if the token has changed since the request.
    if (response.status === 401 && token === session.token) await session.getToken({ refresh: true });
    throw await responseError(response);
  }

  const json = async (/** @type {Parameters<typeof call>} */ ...args) => (await call(...args)).json();
  const conversationPath = (/** @type {string} */ id) => `${ROOT}/conversations/${encodeURIComponent(id)}`;
  const query = (/** @type {Record<string, unknown>} */ values) =>
    new URLSearchParams(
      Object.entries(values)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) => [name, String(value)]),
    );

  return {
    conversations: (/** @type {string | null} */ cursor = null, limit = 40) =>
      json("GET", `${ROOT}/conversations?${query({ limit, cursor })}`),
    conversation: (/** @type {string} */ id) => json("GET", conversationPath(id)),
    rename: (/** @type {string} */ id, /** @type {string} */ title) => json("PATCH", conversationPath(id), { title }),
    /** With `keepalive` the request is sent even if the page is closed. */
    remove: (/** @type {string} */ id, keepalive = false) =>
      call("DELETE", conversationPath(id), undefined, { keepalive }),
    /** Newest messages first. @param {string} id */
    messages: (id, { cursor = null, limit = 50, signal } = /** @type {Page} */ ({})) =>
      json("GET", `${conversationPath(id)}/messages?${query({ limit, order: "desc", cursor })}`, undefined, { signal }),
    search: (/** @type {string} */ q, /** @type {AbortSignal} */ signal) =>
      json("GET", `${ROOT}/search?${query({ q, limit: 30 })}`, undefined, { signal }),
    usage: (/** @type {string} */ group_by, /** @type {string} */ from) =>
      json("GET", `${ROOT}/usage?${query({ group_by, from })}`),
    export: async (/** @type {string} */ id) => (await call("GET", `${conversationPath(id)}/export?format=markdown`)).blob(),
    claim: (/** @type {string} */ token) => json("POST", `${ROOT}/conversations/claim`, { token }),
    /** Throws if the server refuses the token. @param {string} token */
    async check(token) {
      const headers = { Authorization: `Bearer ${token}` };
      const response = await fetch(`${ROOT}/conversations?limit=1`, { headers, cache: "no-store" });
      if (!response.ok) throw await responseError(response);
    },
  };
}
