/**
 * The user's conversations, latest activity first. They are read page by page, renamed and deleted. A deletion
 * cannot be undone on the server, so a conversation is first hidden, and deleted when the time for undo is over.
 * Has no DOM elements. Emits `change` when the list changes.
 */

/** @typedef {{ id: string, title: string | null, last_message_at: string | null, created_at: string }} Conversation */

export class Conversations extends EventTarget {
  /** @type {Map<string, Conversation>} */ #known = new Map();
  /** @type {Set<string>} */ #hidden = new Set();
  /** @type {string | null} */ #cursor = null;
  /** @type {Promise<void> | null} */ #reading = null;
  #userAbort = new AbortController();
  loaded = false;
  /** @type {unknown} */ error = null;

  /** @param {ReturnType<typeof import("./api.js").createApi>} api */
  constructor(api) {
    super();
    this.api = api;
    // Without an undo until the page is closed, the deletions are made.
    addEventListener("pagehide", () => {
      for (const id of this.#hidden) this.remove(id, true).catch(() => {});
    });
  }

  get visible() {
    const visible = [...this.#known.values()].filter(({ id }) => !this.#hidden.has(id));
    return visible.sort((a, b) => (activity(a) < activity(b) ? 1 : -1));
  }

  get hasMore() {
    return !this.loaded || this.#cursor !== null;
  }

  /** @param {string} id */
  get(id) {
    return this.#known.get(id);
  }

  /** Reads the next page. */
  loadMore() {
    if (!this.hasMore) return Promise.resolve();
    const { signal } = this.#userAbort;
    this.#reading ??= this.#read(this.#cursor, true).finally(() => signal.aborted || (this.#reading = null));
    return this.#reading;
  }

  /** Reads the first page again. */
  refresh() {
    return this.loaded ? this.#read(null, false) : this.loadMore();
  }

  /** Empties the list for another user. Ignores responses for the last user. */
  clear() {
    this.#userAbort.abort();
    this.#userAbort = new AbortController();
    this.#known.clear();
    [this.#cursor, this.#reading, this.loaded, this.error] = [null, null, false, null];
    this.#emitChange();
  }

  /** Reads the open conversation if no page so far has it. @param {string} id */
  async load(id) {
    const { signal } = this.#userAbort;
    if (!this.loaded) await this.loadMore();
    if (this.#known.has(id)) return;
    // If the conversation does not exist, the conversation view shows the error.
    const found = await this.api.conversation(id).catch(() => null);
    if (found && !signal.aborted) this.#set(found);
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    const before = this.#known.get(id);
    if (!before) return;
    this.#set({ ...before, title });
    try {
      this.#set(await this.api.rename(id, title));
    } catch (error) {
      this.#set(before);
      throw error;
    }
  }

  /** @param {string} id */
  hide(id) {
    this.#hidden.add(id);
    this.#emitChange();
  }

  /** Shows a hidden conversation again. @param {string} id */
  restore(id) {
    this.#hidden.delete(id);
    this.#emitChange();
  }

  /** Deletes a hidden conversation. Shows it again if the deletion fails. */
  async remove(/** @type {string} */ id, keepalive = false) {
    try {
      await this.api.remove(id, keepalive);
      this.#known.delete(id);
    } catch (error) {
      // Already deleted, for instance in another tab.
      if (/** @type {any} */ (error).status !== 404) throw error;
      this.#known.delete(id);
    } finally {
      this.restore(id);
    }
  }

  async #read(/** @type {string | null} */ cursor, /** @type {boolean} */ nextPage) {
    const { signal } = this.#userAbort;
    try {
      const page = await this.api.conversations(cursor);
      if (signal.aborted) return;
      if (!nextPage) this.#removeDeleted(page);
      for (const conversation of page.conversations) this.#known.set(conversation.id, conversation);
      if (nextPage) this.#cursor = page.next_cursor;
      [this.loaded, this.error] = [true, null];
    } catch (error) {
      if (signal.aborted) return;
      this.error = error;
    }
    this.#emitChange();
  }

  /** Removes conversations that should be on the first page and are not: they were deleted elsewhere.
   * @param {{ conversations: Conversation[], next_cursor: string | null }} page the first page */
  #removeDeleted({ conversations, next_cursor }) {
    const last = conversations.at(-1);
    const ids = new Set(conversations.map(({ id }) => id));
    for (const [id, known] of this.#known) {
      const expected = !next_cursor || (last && activity(known) > activity(last));
      if (expected && !ids.has(id)) this.#known.delete(id);
    }
  }

  #set(/** @type {Conversation} */ conversation) {
    this.#known.set(conversation.id, conversation);
    this.#emitChange();
  }

  #emitChange() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Conversation} conversation */
export const activity = ({ last_message_at, created_at }) => last_message_at ?? created_at;
