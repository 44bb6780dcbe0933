/**
 * Streaming chat for browsers (of 2024 on) and Node 20: sends a message, hands over the answer as it comes,
 * and takes up a cut connection where it broke. How a chat looks is left to the page.
 *
 * @typedef {{ message: string, conversationId?: string, model?: string, temperature?: number,
 *   maxTokens?: number }} ChatRequest Without conversationId a new conversation begins.
 * @typedef {{ messageId: string, conversationId: string }} Started
 * @typedef {Started & { text: string, usage?: Record<string, number>, finishReason:
 *   "stop" | "length" | "content_filter" | "cancelled" | "deadline" }} Completed
 * @typedef {object} Handlers
 * @property {(started: Started) => void} [onStart]
 * @property {(text: string, lastEventId: number) => void} [onChunk] The id is what `resume` takes.
 * @property {(completed: Completed) => void} [onComplete]
 * @property {(error: ChatError) => void} [onError]
 * @property {(state: "connecting" | "waiting" | "streaming" | "reconnecting" | "offline") => void}
 *   [onState] waiting: for the first word.
 * @typedef {string | null | undefined} Token
 * @typedef {object} Answer
 * @property {Promise<Completed>} done Rejects with a ChatError or the signal's reason.
 * @property {() => Promise<void>} stop Ends the answer where it is, on the server too.
 * @property {() => Answer} retry After an error, under the same key: nothing is doubled.
 */

export class ChatError extends Error {
  name = "ChatError";
  code = "connection_lost"; // or answer_failed, http_<status>, or the server's word
  userMessage = "Coach is taking a moment. Let's try again.";
  status = 0;
  field = "";
  /** Seconds, or 0. */
  retryAfter = 0;
  /** Whether `retry` may bring an answer. */
  retryable = true;

  /** @param {string} message @param {Partial<ChatError>} details */
  constructor(message, details) {
    super(message);
    Object.assign(this, details);
  }
}

export function createChatClient({
  baseUrl = "",
  getToken = /** @type {(why: { refresh: boolean }) => Token | Promise<Token>} */ (() => null),
  fetch = globalThis.fetch,
  retries = 8, // in a row, without new text
  // Half a second to eight, half of it by chance: not all shall come at once.
  retryDelay = (/** @type {number} */ failures) =>
    Math.min(8000, 250 * 2 ** failures) * (1 - Math.random() / 2),
  silenceTimeout = 45_000, // three heartbeats: then the connection is dead
  stopTimeout = 5_000, // that `stop` waits for the server
} = {}) {
  /** @type {(path: string, init: RequestInit, refresh?: boolean) => Promise<Response>} */
  async function call(path, init, refresh = false) {
    const token = await getToken({ refresh });
    const headers = { ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    // Not through the cache, where a second reader of a stream waits for the first.
    const response = await fetch(baseUrl.replace(/\/+$/, "") + path, { ...init, headers, cache: "no-store" });
    return response.status === 401 && !refresh ? call(path, init, true) : response;
  }

  /** @param {any} handlers @param {AbortSignal | undefined} signal @param {RequestInit | null} post
   * @param {string} messageId @param {number} offset @returns {Answer} */
  function read(handlers, signal, post, messageId, offset, text = "") {
    const over = new AbortController(); // the answer has ended, or a stop was not heard
    const until = AbortSignal.any(signal ? [signal, over.signal] : [over.signal]);
    let conversationId = "";

    // In a microtask: what a handler throws is reported as uncaught, and the answer goes on.
    /** @param {keyof Handlers} name @param {any[]} args */
    const tell = (name, ...args) => queueMicrotask(() => handlers[name]?.(...args));

    async function run() {
      tell("onState", "connecting");
      let end;
      for (let failures = 0; !end; ) {
        const [from, known] = [offset, messageId];
        try {
          end = await connect();
        } catch (cause) {
          signal?.throwIfAborted();
          if (over.signal.aborted) break;
          const error = cause instanceof ChatError ? cause : new ChatError("connection lost", { cause });
          const passing = error !== cause || (known && error.status && error.retryable);
          failures = offset > from ? 1 : failures + 1;
          if (!passing || failures > retries) throw error;
          tell("onState", globalThis.navigator?.onLine === false ? "offline" : "reconnecting");
          await pause(retryDelay(failures), until);
        }
      }
      const { finishReason = "stop", usage } = end ?? { finishReason: "cancelled" };
      const completed = { messageId, conversationId, text, usage, finishReason };
      tell("onComplete", completed);
      return completed;
    }

    /** Reads one connection, up to the event that ends the answer. */
    async function connect() {
      const closing = new AbortController();
      let heardAt = Date.now();
      const watch = setInterval(() => Date.now() - heardAt > silenceTimeout && closing.abort(), 1000);
      try {
        const reader = await open(AbortSignal.any([until, closing.signal]));
        const parse = eventParser();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) throw new Error("the stream ended before the answer");
          heardAt = Date.now();
          for (const { type, id, content, message: userMessage, ...end } of parse(value)) {
            if (type === "done") return end;
            if (type === "error") {
              // An answer that has text is not begun again under its key.
              const details = { code: "answer_failed", userMessage, retryable: !!post && !offset };
              throw new ChatError("the answer broke off", details);
            }
            if (type !== "token") continue;
            if (!offset) tell("onState", "streaming");
            [text, offset] = [text + content, id];
            tell("onChunk", content, offset);
          }
        }
      } finally {
        clearInterval(watch);
        closing.abort();
      }
    }

    /** @param {AbortSignal} signal */
    async function open(signal) {
      const headers = { "Last-Event-ID": `${offset}` };
      const response = await (messageId
        ? call(`/api/chat/messages/${messageId}/stream`, { headers, signal })
        : call("/chat-stream", { ...post, signal }));
      if (!response.ok) throw await refusal(response);
      const id = response.headers.get("X-Message-Id");
      if (!response.body || !id) throw new Error("this is no answer");
      messageId = id;
      if (!conversationId) {
        conversationId = response.headers.get("X-Conversation-Id") ?? "";
        tell("onStart", { messageId, conversationId });
      }
      tell("onState", offset ? "streaming" : "waiting");
      return response.body.getReader();
    }

    const done = run().finally(() => over.abort());
    done.catch((error) => error instanceof ChatError && tell("onError", error));
    return {
      done,
      async stop() {
        pause(stopTimeout, over.signal).then(() => over.abort());
        const init = { method: "POST", signal: over.signal };
        const cancel = () => call(`/api/chat/messages/${messageId}/cancel`, init).catch(() => null);
        // Until it is heard: twice does no harm.
        while (!over.signal.aborted && !(messageId && (await cancel())?.ok)) await pause(500, over.signal);
        await done.catch(() => {});
      },
      retry: () => read(handlers, signal, post, post && !offset ? "" : messageId, offset, text),
    };
  }

  return {
    /** Sends a message, once: all attempts have one key. Aborting the signal only disconnects.
     * @param {ChatRequest} request @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal, idempotencyKey?: string }} [options] */
    sendMessage(request, handlers = {}, { signal, idempotencyKey = crypto.randomUUID() } = {}) {
      const headers = { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey };
      return read(handlers, signal, { method: "POST", headers, body: JSON.stringify(request) }, "", 0);
    },

    /** Reads an answer on after a chunk's `lastEventId`, while it is written or later.
     * @param {string} messageId @param {number} lastEventId @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal }} [options] */
    resume(messageId, lastEventId, handlers = {}, { signal } = {}) {
      return read(handlers, signal, null, encodeURIComponent(messageId), lastEventId);
    },
  };
}

/** @param {number} milliseconds @param {AbortSignal} signal */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, signal.aborted ? 0 : milliseconds);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)));
  });
}

/** Interprets an event stream (WHATWG HTML, 9.2.6) of JSON, whose bytes may come cut anywhere. */
function eventParser() {
  const decoder = new TextDecoder();
  let [rest, afterCR, id] = ["", false, 0];
  /** @type {string[]} */
  let parts = [];
  return (/** @type {Uint8Array} */ bytes) => {
    const text = decoder.decode(bytes, { stream: true });
    const lines = (rest + (afterCR ? text.replace(/^\n/, "") : text)).split(/\r\n|\r|\n/);
    if (text) afterCR = text.endsWith("\r");
    rest = lines.pop() ?? "";
    const events = [];
    for (const line of lines) {
      const [field, value = ""] = line.split(/: ?(.*)/s);
      if (field === "id") id = Number(value);
      if (field === "data") parts.push(value);
      if (line) continue;
      if (parts.length) events.push({ ...JSON.parse(parts.join("\n")), id });
      parts = [];
    }
    return events;
  };
}

/** @param {Response} response */
async function refusal(response) {
  const { status, headers } = response;
  const body = Object(await response.json().catch(() => null));
  const retryAfter = Number(headers.get("Retry-After")) || 0;
  const retryable = [408, 409, 429].includes(status) || status >= 500;
  const details = { code: `http_${status}`, ...body, status, retryAfter, retryable };
  return new ChatError(body.error ?? `HTTP ${status}`, details);
}
