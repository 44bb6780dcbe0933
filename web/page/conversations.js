/**
 * The caller's conversations, newest activity first: read by pages, renamed, and deleted. As that is final for
 * the server, they are hidden first, and it is told when nobody takes that back. Knows no element; `change`
 * says that the list is another one.
 */

/** @typedef {{ id: string, title: string | null, last_message_at: string | null, created_at: string }} Conversation */

export class Conversations extends EventTarget {
  /** @type {Map<string, Conversation>} */ #known = new Map();
  /** @type {Set<string>} */ #hidden = new Set();
  /** @type {string | null} */ #cursor = null;
  /** @type {Promise<void> | null} */ #reading = null;
  #theirs = new AbortController();
  loaded = false;
  /** @type {unknown} */ error = null;

  /** @param {ReturnType<typeof import("./api.js").createApi>} api */
  constructor(api) {
    super();
    this.api = api;
    // Who leaves the page has not changed their mind.
    addEventListener("pagehide", () => {
      for (const id of this.#hidden) this.remove(id, true).catch(() => {});
    });
  }

  get shown() {
    const shown = [...this.#known.values()].filter(({ id }) => !this.#hidden.has(id));
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
    const { signal } = this.#theirs;
    this.#reading ??= this.#read(this.#cursor, true).finally(() => signal.aborted || (this.#reading = null));
    return this.#reading;
  }

  /** What is new at the top. */
  refresh() {
    return this.loaded ? this.#read(null, false) : this.more();
  }

  /** Somebody else is here now: what is on its way to the one before is of no use. */
  forget() {
    this.#theirs.abort();
    this.#theirs = new AbortController();
    this.#known.clear();
    [this.#cursor, this.#reading, this.loaded, this.error] = [null, null, false, null];
    this.#tell();
  }

  /** One that is open, and may stand further down than has been read. @param {string} id */
  async need(id) {
    const { signal } = this.#theirs;
    if (!this.loaded) await this.more();
    if (this.#known.has(id)) return;
    // That it is not there is told where its messages should be.
    const found = await this.api.conversation(id).catch(() => null);
    if (found && !signal.aborted) this.#put(found);
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

  /** @param {string} id */
  hide(id) {
    this.#hidden.add(id);
    this.#tell();
  }

  /** Takes that back. @param {string} id */
  restore(id) {
    this.#hidden.delete(id);
    this.#tell();
  }

  /** Deletes one that is hidden; shows it again where that fails. */
  async remove(/** @type {string} */ id, keepalive = false) {
    try {
      await this.api.remove(id, keepalive);
      this.#known.delete(id);
    } catch (error) {
      // Somebody was faster.
      if (/** @type {any} */ (error).status !== 404) throw error;
      this.#known.delete(id);
    } finally {
      this.restore(id);
    }
  }

  async #read(/** @type {string | null} */ cursor, /** @type {boolean} */ further) {
    const { signal } = this.#theirs;
    try {
      const page = await this.api.conversations(cursor);
      if (signal.aborted) return;
      if (!further) this.#forgetMissing(page);
      for (const conversation of page.conversations) this.#known.set(conversation.id, conversation);
      if (further) this.#cursor = page.next_cursor;
      [this.loaded, this.error] = [true, null];
    } catch (error) {
      if (signal.aborted) return;
      this.error = error;
    }
    this.#tell();
  }

  /** What is not where it would stand was deleted elsewhere.
   * @param {{ conversations: Conversation[], next_cursor: string | null }} first the first page */
  #forgetMissing({ conversations, next_cursor }) {
    const last = conversations.at(-1);
    const there = new Set(conversations.map(({ id }) => id));
    for (const [id, known] of this.#known) {
      const within = !next_cursor || (last && activity(known) > activity(last));
      if (within && !there.has(id)) this.#known.delete(id);
    }
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
