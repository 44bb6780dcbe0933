/**
 * One conversation as it is read and written: its messages, the answer that is running, and how that stands.
 * Knows no element; whoever shows it listens for
 *   open      other messages than before    older    some were put before the others
 *   added     some were put at the end      message  one has changed (`detail`)
 *   state     `state` has changed           started  the conversation has its id
 *   settled   an answer has ended
 */

import { merge } from "./merge.js";
import { isLocal, messagesOf, newTurn, stateOf } from "./message.js";

const PAGE = 50;

/** @typedef {import("./message.js").Message} Message @typedef {import("./message.js").State} State */

const RUNNING = new Set(["connecting", "thinking", "streaming", "reconnecting", "offline"]);
const STATES = { waiting: "thinking" };
const ENDS = { cancelled: "cancelled", deadline: "interrupted" };

export class Thread extends EventTarget {
  /** @type {string | null} */ id = null;
  /** @type {Message[]} */ messages = [];
  /** @type {State} */ state = "idle";
  /** When a limit is over, in milliseconds since the epoch. */ until = 0;
  /** @type {string | null} */ #cursor = null;
  /** @type {Promise<void> | null} */ #reading = null;
  /** @type {import("../chat-client.js").Answer | null} */ #answer = null;
  #left = new AbortController();

  /** @param {ReturnType<typeof import("./api.js").createApi>} api
   * @param {ReturnType<typeof import("../chat-client.js").createChatClient>} client
   * @param {ReturnType<typeof import("./keep.js").createKeep>} keep */
  constructor(api, client, keep) {
    super();
    this.api = api;
    this.client = client;
    this.keep = keep;
  }

  get running() {
    return RUNNING.has(this.state);
  }

  get hasOlder() {
    return this.#cursor !== null;
  }

  /** Shows a conversation, or with null the place where a new one begins. What ran here runs on at the server. */
  async open(/** @type {string | null} */ id) {
    this.#left.abort();
    this.#left = new AbortController();
    const { signal } = this.#left;
    Object.assign(this, { id, messages: [] });
    this.#answer = this.#cursor = this.#reading = null;
    this.#become(id ? "loading" : "idle");
    this.#tell("open");
    if (id) {
      try {
        const page = await this.api.messages(id, { limit: PAGE, signal });
        if (signal.aborted) return;
        this.messages = page.messages.reverse();
        this.#cursor = page.next_cursor;
      } catch (error) {
        if (signal.aborted) return;
        return this.#become(stateOf(error), error);
      }
      this.#become("idle");
      this.#tell("open");
    }
    this.#takeUp();
  }

  /** Reads older messages. @returns {Promise<void>} */
  older(limit = PAGE) {
    if (!this.#cursor || !this.id) return Promise.resolve();
    const { signal } = this.#left;
    const read = async (/** @type {string} */ id) => {
      const page = await this.api.messages(id, { cursor: this.#cursor, limit, signal });
      if (signal.aborted) return;
      this.messages = [...page.messages.reverse(), ...this.messages];
      this.#cursor = page.next_cursor;
      this.#tell("older", page.messages.length);
    };
    const reading = this.#reading ?? read(this.id).finally(() => signal.aborted || (this.#reading = null));
    this.#reading = reading;
    return reading;
  }

  /** What was written elsewhere, in another tab for instance, and is not here yet. */
  async refresh() {
    if (!this.id || this.running || this.state === "loading") return;
    const { signal } = this.#left;
    const { messages } = await this.api.messages(this.id, { limit: PAGE, signal });
    if (signal.aborted || this.running) return;
    this.#merge(messages.reverse());
    this.#follow();
  }

  send(/** @type {string} */ text) {
    if (this.running) return;
    const turn = newTurn(text, this.id);
    this.keep.saveTurn(turn);
    this.#begin(turn);
  }

  /** Ends the running answer, here and at the server. */
  async stop() {
    await this.#answer?.stop();
  }

  /** Asks again: a turn that was not answered under its own key, so that nothing is doubled. What has text
   * already, or whose key nobody knows any more, is asked as a new question; what the server has, or may be
   * writing still, is only read on. @param {Message} answer */
  retry(answer) {
    if (this.running) return;
    if (answer.error?.code === "connection_lost" && !isLocal(answer)) return this.#readOn(answer);
    const turn = answer.turn ?? (answer.content ? undefined : this.keep.failed(answer.id));
    const question = this.messages[this.messages.indexOf(answer) - 1];
    if (!turn) return question && this.send(question.content);
    // It was to begin a conversation; another one did so meanwhile.
    if (isLocal(answer) && (turn.request.conversationId ?? null) !== this.id) return this.send(this.discard(answer));
    this.#run(turn, answer);
  }

  /** A limit is over. */
  recover() {
    if (this.#limited) this.#become("idle");
  }

  get #limited() {
    return this.state === "limited" || this.state === "budget";
  }

  /** Takes back a question that was never accepted; returns its text. @param {Message} answer */
  discard(answer) {
    const at = this.messages.indexOf(answer);
    const [question] = this.messages.splice(at - 1, 2);
    this.keep.forgetTurn(answer.turn);
    if (!this.#limited) this.#become("idle");
    this.#tell("open");
    return question.content;
  }

  /** After a reload: the turn that nobody confirmed is sent again, the answer that is running followed. */
  #takeUp() {
    const turn = this.keep.turn(this.id);
    if (turn) this.#begin(turn);
    else this.#follow();
  }

  #follow() {
    const answer = this.messages.findLast((message) => message.status === "streaming");
    if (answer && !this.running) this.#readOn(answer);
  }

  #readOn(/** @type {Message} */ answer) {
    const { signal } = this.#left;
    this.#update(answer, { status: "streaming", error: undefined });
    // Ids of events count characters as Python does: code points.
    const from = Array.from(answer.content).length;
    this.#hold(this.client.resume(answer.id, from, this.#handlers(answer, signal), { signal }));
  }

  #begin(/** @type {import("./keep.js").Turn} */ turn) {
    const [question, answer] = messagesOf(turn);
    this.messages.push(question, answer);
    this.#tell("added", { own: true });
    this.#run(turn, answer);
  }

  #run(/** @type {import("./keep.js").Turn} */ turn, /** @type {Message} */ answer) {
    const { signal } = this.#left;
    this.#update(answer, { status: "streaming", error: undefined, turn });
    const options = { signal, idempotencyKey: turn.key };
    this.#hold(this.client.sendMessage(turn.request, this.#handlers(answer, signal), options));
  }

  /** @param {import("../chat-client.js").Answer} running */
  #hold(running) {
    this.#answer = running;
    // What goes wrong is told to its handler.
    running.done.catch(() => {});
  }

  /** @param {Message} answer @param {AbortSignal} signal */
  #handlers(answer, signal) {
    const here = (/** @type {(...given: any[]) => void} */ handler) => (/** @type {any[]} */ ...given) =>
      signal.aborted || handler(...given);
    return {
      onState: here((state) => this.#become(STATES[/** @type {"waiting"} */ (state)] ?? state)),
      onStart: here(({ messageId, conversationId }) => this.#started(answer, messageId, conversationId)),
      onChunk: here((text) => this.#update(answer, { content: answer.content + text })),
      onComplete: here(({ finishReason }) => this.#completed(answer, finishReason)),
      onError: here((error) => this.#failed(answer, error)),
    };
  }

  /** @param {Message} answer @param {string} messageId @param {string} conversationId */
  #started(answer, messageId, conversationId) {
    this.keep.forgetTurn(answer.turn);
    this.#update(answer, { id: messageId });
    if (this.id || !conversationId) return;
    this.id = conversationId;
    this.#tell("started");
  }

  /** @param {Message} answer @param {string} finishReason */
  #completed(answer, finishReason) {
    this.keep.forgetTurn(answer.turn);
    this.#answer = null;
    const status = ENDS[/** @type {"cancelled"} */ (finishReason)] ?? "complete";
    // Stopped before anybody heard of it: should it have been heard all the same, its key finds it.
    const turn = isLocal(answer) ? answer.turn : undefined;
    this.#update(answer, { status, turn, metadata: { finish_reason: finishReason } });
    this.#become("idle");
    this.#settle(answer);
  }

  /** @param {Message} answer @param {any} error */
  #failed(answer, error) {
    this.#answer = null;
    if (error.conversationId) this.#started(answer, error.messageId, error.conversationId);
    if (answer.turn) this.#keepFailed(answer, answer.turn, error);
    this.#update(answer, { status: "error", error });
    this.#become(stateOf(error), error);
    if (error.code === "conflict") this.refresh().catch(() => {});
    if (!isLocal(answer)) this.#settle(answer);
  }

  /** @param {Message} answer @param {import("./keep.js").Turn} turn @param {import("../chat-client.js").ChatError} error */
  #keepFailed(answer, turn, error) {
    if (answer.content) answer.turn = undefined;
    else if (!isLocal(answer)) this.keep.saveFailed(answer.id, turn);
    // What can never be accepted as it is, is not sent again by a reload.
    else if (!error.retryable && error.status !== 401 && error.status !== 403) this.keep.forgetTurn(turn);
  }

  /** What only the server knows of a turn that has ended: times, tokens, cost. */
  async #settle(/** @type {Message} */ answer) {
    const { signal } = this.#left;
    this.#tell("settled", answer);
    if (!this.id || isLocal(answer)) return;
    const { messages } = await this.api.messages(this.id, { limit: 2, signal }).catch(() => ({ messages: [] }));
    const stored = messages.find((/** @type {Message} */ message) => message.id === answer.id);
    // One that is lost here may be written on there: it is read on when that is asked for.
    if (signal.aborted || !stored || stored.status === "streaming") return;
    const { content, ...known } = stored;
    if (stored.status === answer.status) this.#update(answer, known);
    if (!this.running) this.#merge(messages.reverse());
  }

  /** @param {Message[]} stored the newest that the server has, oldest of them first */
  #merge(stored) {
    const { changed, added, atEnd } = merge(this.messages, stored);
    for (const message of changed) this.#tell("message", message);
    if (added) this.#tell(atEnd ? "added" : "open", { own: false });
  }

  /** @param {Message | undefined} message @param {Partial<Message>} changes */
  #update(message, changes) {
    if (!message) return;
    Object.assign(message, changes);
    this.#tell("message", message);
  }

  /** @param {string} state @param {any} [error] */
  #become(state, error) {
    this.until = error?.retryAfter ? Date.now() + error.retryAfter * 1000 : 0;
    this.state = /** @type {State} */ (state);
    this.#tell("state", error);
  }

  #tell(/** @type {string} */ type, /** @type {unknown} */ detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
