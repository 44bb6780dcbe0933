/**
 * The open conversation: its messages, the running answer, and the state. Has no DOM elements. Emits
 *   open      all messages are replaced     older    messages were added at the beginning
 *   added     messages were added at the end message  one message has changed (`detail`)
 *   state     `state` has changed           started  a new conversation has got its id
 *   settled   an answer has ended
 */

import { merge } from "./merge.js";
import { isLocal, messagesOf, newTurn, stateOf } from "./message.js";

const PAGE = 50;

/** @typedef {import("./message.js").Message} Message @typedef {import("./message.js").State} State */

const RUNNING = new Set(["connecting", "thinking", "streaming", "reconnecting", "offline"]);
const STATE_NAMES = { waiting: "thinking" };
const STATUS_BY_FINISH_REASON = { cancelled: "cancelled", deadline: "interrupted" };

export class Thread extends EventTarget {
  /** @type {string | null} */ id = null;
  /** @type {Message[]} */ messages = [];
  /** @type {State} */ state = "idle";
  /** The end of a limit, in milliseconds since the epoch. */ until = 0;
  /** @type {string | null} */ #cursor = null;
  /** @type {Promise<void> | null} */ #reading = null;
  /** @type {import("../chat-client.js").Answer | null} */ #answer = null;
  #closing = new AbortController();

  /** @param {ReturnType<typeof import("./api.js").createApi>} api
   * @param {ReturnType<typeof import("../chat-client.js").createChatClient>} client
   * @param {ReturnType<typeof import("./tab-storage.js").createTabStorage>} tabStorage */
  constructor(api, client, tabStorage) {
    super();
    this.api = api;
    this.client = client;
    this.tabStorage = tabStorage;
  }

  get running() {
    return RUNNING.has(this.state);
  }

  get hasOlder() {
    return this.#cursor !== null;
  }

  /** Opens a conversation; null opens a new one. The server completes an answer that is running. */
  async open(/** @type {string | null} */ id) {
    this.#closing.abort();
    this.#closing = new AbortController();
    const { signal } = this.#closing;
    Object.assign(this, { id, messages: [] });
    this.#answer = this.#cursor = this.#reading = null;
    this.#setState(id ? "loading" : "idle");
    this.#emit("open");
    if (id) {
      try {
        const page = await this.api.messages(id, { limit: PAGE, signal });
        if (signal.aborted) return;
        this.messages = page.messages.reverse();
        this.#cursor = page.next_cursor;
      } catch (error) {
        if (signal.aborted) return;
        return this.#setState(stateOf(error), error);
      }
      this.#setState("idle");
      this.#emit("open");
    }
    this.#resumePending();
  }

  /** Reads older messages. @returns {Promise<void>} */
  older(limit = PAGE) {
    if (!this.#cursor || !this.id) return Promise.resolve();
    const { signal } = this.#closing;
    const read = async (/** @type {string} */ id) => {
      const page = await this.api.messages(id, { cursor: this.#cursor, limit, signal });
      if (signal.aborted) return;
      this.messages = [...page.messages.reverse(), ...this.messages];
      this.#cursor = page.next_cursor;
      this.#emit("older", page.messages.length);
    };
    const reading = this.#reading ?? read(this.id).finally(() => signal.aborted || (this.#reading = null));
    this.#reading = reading;
    return reading;
  }

  /** Reads messages that were added elsewhere, for instance in another tab. */
  async refresh() {
    if (!this.id || this.running || this.state === "loading") return;
    const { signal } = this.#closing;
    const { messages } = await this.api.messages(this.id, { limit: PAGE, signal });
    if (signal.aborted || this.running) return;
    this.#merge(messages.reverse());
    this.#resumeRunning();
  }

  send(/** @type {string} */ text) {
    if (this.running) return;
    const turn = newTurn(text, this.id);
    this.tabStorage.saveTurn(turn);
    this.#addTurn(turn);
  }

  /** Stops the running answer, here and on the server. */
  async stop() {
    await this.#answer?.stop();
  }

  /** Tries a failed turn again. If the connection was lost, reads the rest of the answer. If the answer has no
   * text, sends the turn again under its key, so that it is stored once. If the answer has text, or the key is
   * unknown, sends the question as a new turn. @param {Message} answer */
  retry(answer) {
    if (this.running) return;
    if (answer.error?.code === "connection_lost" && !isLocal(answer)) return this.#resume(answer);
    const turn = answer.turn ?? (answer.content ? undefined : this.tabStorage.failedTurn(answer.id));
    const question = this.messages[this.messages.indexOf(answer) - 1];
    if (!turn) return question && this.send(question.content);
    // The turn was to start a conversation, but another turn has started it meanwhile.
    if (isLocal(answer) && (turn.request.conversationId ?? null) !== this.id) return this.send(this.discard(answer));
    this.#sendTurn(turn, answer);
  }

  /** Call it when a limit has ended. */
  recover() {
    if (this.#limited) this.#setState("idle");
  }

  get #limited() {
    return this.state === "limited" || this.state === "budget";
  }

  /** Removes a question that the server did not accept. Returns its text. @param {Message} answer */
  discard(answer) {
    const at = this.messages.indexOf(answer);
    const [question] = this.messages.splice(at - 1, 2);
    this.tabStorage.removeTurn(answer.turn);
    if (!this.#limited) this.#setState("idle");
    this.#emit("open");
    return question.content;
  }

  /** After a reload, sends the unconfirmed turn again, or resumes the running answer. */
  #resumePending() {
    const turn = this.tabStorage.turn(this.id);
    if (turn) this.#addTurn(turn);
    else this.#resumeRunning();
  }

  #resumeRunning() {
    const answer = this.messages.findLast((message) => message.status === "streaming");
    if (answer && !this.running) this.#resume(answer);
  }

  #resume(/** @type {Message} */ answer) {
    const { signal } = this.#closing;
    this.#update(answer, { status: "streaming", error: undefined });
    // Event ids count code points.
    const from = Array.from(answer.content).length;
    this.#setAnswer(this.client.resume(answer.id, from, this.#handlers(answer, signal), { signal }));
  }

  #addTurn(/** @type {import("./tab-storage.js").Turn} */ turn) {
    const [question, answer] = messagesOf(turn);
    this.messages.push(question, answer);
    this.#emit("added", { own: true });
    this.#sendTurn(turn, answer);
  }

  #sendTurn(/** @type {import("./tab-storage.js").Turn} */ turn, /** @type {Message} */ answer) {
    const { signal } = this.#closing;
    this.#update(answer, { status: "streaming", error: undefined, turn });
    const options = { signal, idempotencyKey: turn.key };
    this.#setAnswer(this.client.sendMessage(turn.request, this.#handlers(answer, signal), options));
  }

  /** @param {import("../chat-client.js").Answer} running */
  #setAnswer(running) {
    this.#answer = running;
    // `onError` handles errors.
    running.done.catch(() => {});
  }

  /** @param {Message} answer @param {AbortSignal} signal */
  #handlers(answer, signal) {
    const ifOpen = (/** @type {(...args: any[]) => void} */ handler) => (/** @type {any[]} */ ...args) =>
      signal.aborted || handler(...args);
    return {
      onState: ifOpen((state) => this.#setState(STATE_NAMES[/** @type {"waiting"} */ (state)] ?? state)),
      onStart: ifOpen(({ messageId, conversationId }) => this.#started(answer, messageId, conversationId)),
      onChunk: ifOpen((text) => this.#update(answer, { content: answer.content + text })),
      onComplete: ifOpen(({ finishReason }) => this.#completed(answer, finishReason)),
      onError: ifOpen((error) => this.#failed(answer, error)),
    };
  }

  /** @param {Message} answer @param {string} messageId @param {string} conversationId */
  #started(answer, messageId, conversationId) {
    this.tabStorage.removeTurn(answer.turn);
    this.#update(answer, { id: messageId });
    if (this.id || !conversationId) return;
    this.id = conversationId;
    this.#emit("started");
  }

  /** @param {Message} answer @param {string} finishReason */
  #completed(answer, finishReason) {
    this.tabStorage.removeTurn(answer.turn);
    this.#answer = null;
    const status = STATUS_BY_FINISH_REASON[/** @type {"cancelled"} */ (finishReason)] ?? "complete";
    // The answer was stopped before the server confirmed it. If the server has it, the key finds it.
    const turn = isLocal(answer) ? answer.turn : undefined;
    this.#update(answer, { status, turn, metadata: { finish_reason: finishReason } });
    this.#setState("idle");
    this.#readResult(answer);
  }

  /** @param {Message} answer @param {any} error */
  #failed(answer, error) {
    this.#answer = null;
    if (error.conversationId) this.#started(answer, error.messageId, error.conversationId);
    if (answer.turn) this.#saveFailedTurn(answer, answer.turn, error);
    this.#update(answer, { status: "error", error });
    this.#setState(stateOf(error), error);
    if (error.code === "conflict") this.refresh().catch(() => {});
    if (!isLocal(answer)) this.#readResult(answer);
  }

  /** @param {Message} answer @param {import("./tab-storage.js").Turn} turn @param {import("../chat-client.js").ChatError} error */
  #saveFailedTurn(answer, turn, error) {
    if (answer.content) answer.turn = undefined;
    else if (!isLocal(answer)) this.tabStorage.saveFailedTurn(answer.id, turn);
    // A reload must not send a turn again that the server will never accept.
    else if (!error.retryable && error.status !== 401 && error.status !== 403) this.tabStorage.removeTurn(turn);
  }

  /** Reads the data of an ended turn that only the server has: times, tokens, cost. */
  async #readResult(/** @type {Message} */ answer) {
    const { signal } = this.#closing;
    this.#emit("settled", answer);
    if (!this.id || isLocal(answer)) return;
    const { messages } = await this.api.messages(this.id, { limit: 2, signal }).catch(() => ({ messages: [] }));
    const stored = messages.find((/** @type {Message} */ message) => message.id === answer.id);
    // After a lost connection the server may still be writing the answer. `retry` reads the rest.
    if (signal.aborted || !stored || stored.status === "streaming") return;
    const { content, ...known } = stored;
    if (stored.status === answer.status) this.#update(answer, known);
    if (!this.running) this.#merge(messages.reverse());
  }

  /** @param {Message[]} stored the newest messages on the server, oldest first */
  #merge(stored) {
    const { changed, added, atEnd } = merge(this.messages, stored);
    for (const message of changed) this.#emit("message", message);
    if (added) this.#emit(atEnd ? "added" : "open", { own: false });
  }

  /** @param {Message | undefined} message @param {Partial<Message>} changes */
  #update(message, changes) {
    if (!message) return;
    Object.assign(message, changes);
    this.#emit("message", message);
  }

  /** @param {string} state @param {any} [error] */
  #setState(state, error) {
    this.until = error?.retryAfter ? Date.now() + error.retryAfter * 1000 : 0;
    this.state = /** @type {State} */ (state);
    this.#emit("state", error);
  }

  #emit(/** @type {string} */ type, /** @type {unknown} */ detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
