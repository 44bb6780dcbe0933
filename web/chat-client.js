/**
 * A streaming chat client for browsers (2024 or newer) and Node 20: sends a message, streams the answer, and
 * resumes it after a lost connection. It has no user interface.
 *
 * @typedef {{ message: string, conversationId?: string, model?: string, temperature?: number,
 *   maxTokens?: number }} ChatRequest Without conversationId, the message starts a new conversation.
 * @typedef {{ messageId: string, conversationId: string }} Started
 * @typedef {Started & { text: string, usage?: Record<string, number>, finishReason:
 *   "stop" | "length" | "content_filter" | "cancelled" | "deadline" }} Completed
 * @typedef {object} Handlers
 * @property {(started: Started) => void} [onStart]
 * @property {(text: string, lastEventId: number) => void} [onChunk] `resume` takes the id.
 * @property {(completed: Completed) => void} [onComplete]
 * @property {(error: ChatError) => void} [onError]
 * @property {(state: "connecting" | "waiting" | "streaming" | "reconnecting" | "offline") => void}
 *   [onState] "waiting" is for the first text.
 * @typedef {string | null | undefined} Token
 * @typedef {object} Answer
 * @property {Promise<Completed>} done Rejects with a ChatError or the signal's reason.
 * @property {() => Promise<void>} stop Stops the answer, here and on the server.
 * @property {() => Answer} retry Tries again after an error, with the same idempotency key.
 */

export class ChatError extends Error {
  name = "ChatError";
  code = "connection_lost"; // or answer_failed, http_<status>, or the server's code
  userMessage = "Coach is taking a moment. Let's try again.";
  status = 0;
  field = "";
  /** In seconds; 0 if unknown. */
  retryAfter = 0;
  /** Whether `retry` can succeed. */
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
  retries = 8, // successive failures without new text
  // 0.25 to 8 seconds, random: clients must not all reconnect together.
  retryDelay = (/** @type {number} */ failures) =>
    Math.min(8000, 250 * 2 ** failures) * (1 - Math.random() / 2),
  silenceTimeout = 45_000, // three heartbeats
  stopTimeout = 5_000, // how long `stop` waits for the server
} = {}) {
  /** @type {(path: string, init: RequestInit, refresh?: boolean) => Promise<Response>} */
  async function call(path, init, refresh = false) {
    const token = await getToken({ refresh });
    const headers = { ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    // In the HTTP cache, a second reader of a stream would wait for the first.
    const response = await fetch(baseUrl.replace(/\/+$/, "") + path, { ...init, headers, cache: "no-store" });
    return response.status === 401 && !refresh ? call(path, init, true) : response;
  }

  /** @param {any} handlers @param {AbortSignal | undefined} signal @param {RequestInit | null} post
   * @param {string} messageId @param {number} offset @returns {Answer} */
  function read(handlers, signal, post, messageId, offset, text = "") {
    const ended = new AbortController(); // or `stop` has timed out
    const until = AbortSignal.any(signal ? [signal, ended.signal] : [ended.signal]);
    let conversationId = "";

    // In a microtask: an error in a handler is reported as uncaught and does not end the answer.
    /** @param {keyof Handlers} name @param {any[]} args */
    const notify = (name, ...args) => queueMicrotask(() => handlers[name]?.(...args));

    async function run() {
      notify("onState", "connecting");
      let end;
      for (let failures = 0; !end; ) {
        const [from, known] = [offset, messageId];
        try {
          end = await connect();
        } catch (cause) {
          signal?.throwIfAborted();
          if (ended.signal.aborted) break;
          const error = cause instanceof ChatError ? cause : new ChatError("connection lost", { cause });
          const temporary = error !== cause || (known && error.status && error.retryable);
          failures = offset > from ? 1 : failures + 1;
          if (!temporary || failures > retries) throw error;
          notify("onState", globalThis.navigator?.onLine === false ? "offline" : "reconnecting");
          await pause(retryDelay(failures), until);
        }
      }
      const { finishReason = "stop", usage } = end ?? { finishReason: "cancelled" };
      const completed = { messageId, conversationId, text, usage, finishReason };
      notify("onComplete", completed);
      return completed;
    }

    /** Reads one connection until the event that ends the answer. */
    async function connect() {
      const closing = new AbortController();
      let readAt = Date.now();
      const watch = setInterval(() => Date.now() - readAt > silenceTimeout && closing.abort(), 1000);
      try {
        const reader = await open(AbortSignal.any([until, closing.signal]));
        const parse = eventParser();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) throw new Error("the stream ended before the answer");
          readAt = Date.now();
          for (const { type, id, content, message: userMessage, ...end } of parse(value)) {
            if (type === "done") return end;
            if (type === "error") {
              // An answer with text is only replayed under its key.
              const details = { code: "answer_failed", userMessage, retryable: !!post && !offset };
              throw new ChatError("the answer failed", details);
            }
            if (type !== "token") continue;
            if (!offset) notify("onState", "streaming");
            [text, offset] = [text + content, id];
            notify("onChunk", content, offset);
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
      if (!response.ok) throw await responseError(response);
      const id = response.headers.get("X-Message-Id");
      if (!response.body || !id) throw new Error("the response is not an answer");
      messageId = id;
      if (!conversationId) {
        conversationId = response.headers.get("X-Conversation-Id") ?? "";
        notify("onStart", { messageId, conversationId });
      }
      notify("onState", offset ? "streaming" : "waiting");
      return response.body.getReader();
    }

    const done = run().finally(() => ended.abort());
    done.catch((error) => error instanceof ChatError && notify("onError", error));
    return {
      done,
      async stop() {
        pause(stopTimeout, ended.signal).then(() => ended.abort());
        const init = { method: "POST", signal: ended.signal };
        const cancel = () => call(`/api/chat/messages/${messageId}/cancel`, init).catch(() => null);
        // Repeated until accepted. A second cancel has no effect.
        while (!ended.signal.aborted && !(messageId && (await cancel())?.ok)) await pause(500, ended.signal);
        await done.catch(() => {});
      },
      retry: () => read(handlers, signal, post, post && !offset ? "" : messageId, offset, text),
    };
  }

  return {
    /** Sends a message. All attempts have the same idempotency key.
     * Aborting the signal only disconnects; the server completes the answer.
     * @param {ChatRequest} request @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal, idempotencyKey?: string }} [options] */
    sendMessage(request, handlers = {}, { signal, idempotencyKey = crypto.randomUUID() } = {}) {
      const headers = { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey };
      return read(handlers, signal, { method: "POST", headers, body: JSON.stringify(request) }, "", 0);
    },

    /** Reads an answer from the `lastEventId` of a chunk on, at any time.
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

/** Parses an event stream (WHATWG HTML, 9.2.6) of JSON. Reads may end at any byte. */
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
      if (field === "id") id = parseInt(value, 10);
      if (field === "data") parts.push(value);
      if (line) continue;
      if (parts.length) events.push({ ...JSON.parse(parts.join("\n")), id });
      parts = [];
    }
    return events;
  };
}

/** @param {Response} response */
async function responseError(response) {
  const { status, headers } = response;
  const body = Object(await response.json().catch(() => null));
  const retryAfter = Number(headers.get("Retry-After")) || 0;
  const retryable = [408, 409, 429].includes(status) || status >= 500;
  const details = { code: `http_${status}`, ...body, status, retryAfter, retryable };
  return new ChatError(body.error ?? `HTTP ${status}`, details);
}
