/**
 * The caller's conversations, newest activity first: read by pages, renamed, and deleted after a while in
 * which that can be taken back. Knows no element; `change` says that the list is another one.
 */

// Deleting is final for the server, so it is told late.
const REGRET_MS = 8000;

/** @typedef {{ id: string, title: string | null, last_message_at: string | null, created_at: string }} Conversation */

export class Conversations extends EventTarget {
  /** @type {Map<string, Conversation>} */ #known = new Map();
  /** @type {Map<string, { timer: number, failed: (error: unknown) => void }>} */ #leaving = new Map();
  /** @type {string | null} */ #cursor = null;
  /** @type {Promise<void> | null} */ #reading = null;
  loaded = false;
  /** @type {unknown} */ error = null;

  /** @param {ReturnType<typeof import("./api.js").createApi>} api */
  constructor(api) {
    super();
    this.api = api;
    // Who leaves the page has not changed their mind.
    addEventListener("pagehide", () => {
      for (const id of this.#leaving.keys()) this.#removeNow(id, true);
    });
  }

  get shown() {
    const shown = [...this.#known.values()].filter(({ id }) => !this.#leaving.has(id));
    return shown.sort((a, b) => (activity(a) < activity(b) ? 1 : -1));
  }

  get hasMore() {
    return !this.loaded || this.#cursor !== null;
  }

  /** @param {string} id */
  get(id) {
    return this.#known.get(id);
  }

  /** The next page. */
  more() {
    if (!this.hasMore) return Promise.resolve();
    this.#reading ??= this.#read(this.#cursor, true).finally(() => (this.#reading = null));
    return this.#reading;
  }

  /** What is new at the top. */
  refresh() {
    return this.loaded ? this.#read(null, false) : this.more();
  }

  forget() {
    this.#known.clear();
    [this.#cursor, this.loaded, this.error] = [null, false, null];
    this.#tell();
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    const before = this.#known.get(id);
    if (!before) return;
    this.#put({ ...before, title });
    try {
      this.#put(await this.api.rename(id, title));
    } catch (error) {
      this.#put(before);
      throw error;
    }
  }

  /** Hides it, and deletes it when nobody has taken that back in time.
   * @param {string} id @param {(error: unknown) => void} failed */
  remove(id, failed) {
    const timer = window.setTimeout(() => this.#removeNow(id), REGRET_MS);
    this.#leaving.set(id, { timer, failed });
    this.#tell();
  }

  /** @param {string} id */
  restore(id) {
    clearTimeout(this.#leaving.get(id)?.timer);
    this.#leaving.delete(id);
    this.#tell();
  }

  async #removeNow(/** @type {string} */ id, keepalive = false) {
    const leaving = this.#leaving.get(id);
    clearTimeout(leaving?.timer);
    try {
      await this.api.remove(id, keepalive).catch((/** @type {any} */ error) => {
        if (error.status !== 404) throw error;
      });
      this.#known.delete(id);
    } catch (error) {
      leaving?.failed(error);
    }
    this.restore(id);
  }

  async #read(/** @type {string | null} */ cursor, /** @type {boolean} */ further) {
    try {
      const page = await this.api.conversations(cursor);
      for (const conversation of page.conversations) this.#known.set(conversation.id, conversation);
      if (further) this.#cursor = page.next_cursor;
      [this.loaded, this.error] = [true, null];
    } catch (error) {
      this.error = error;
    }
    this.#tell();
  }

  #put(/** @type {Conversation} */ conversation) {
    this.#known.set(conversation.id, conversation);
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Conversation} conversation */
export const activity = ({ last_message_at, created_at }) => last_message_at ?? created_at;
