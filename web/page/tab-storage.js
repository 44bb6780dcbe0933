/** Saves drafts and unconfirmed turns in this tab's session storage, so that they survive a reload. */

const DRAFT = "chat.draft.";
const TURN = "chat.turn.";
const FAILED = "chat.failed";
// The number of failed turns that are saved. A saved turn can be retried with its idempotency key.
const MAX_FAILED_TURNS = 20;

/** @typedef {{ key: string, request: import("../chat-client.js").ChatRequest, at: string }} Turn */

export function createTabStorage(storage = sessionStorage) {
  const read = (/** @type {string} */ name) => {
    try {
      return JSON.parse(storage.getItem(name) ?? "null");
    } catch {
      return null;
    }
  };
  const write = (/** @type {string} */ name, /** @type {unknown} */ value) => {
    try {
      if (value) storage.setItem(name, JSON.stringify(value));
      else storage.removeItem(name);
    } catch {
      // The storage is full or forbidden. The value is lost at a reload.
    }
  };
  const draftName = (/** @type {string | null} */ id) => DRAFT + (id ?? "new");
  const turnName = (/** @type {string | null | undefined} */ id) => TURN + (id ?? "new");

  return {
    draft: (/** @type {string | null} */ id) => read(draftName(id)) ?? "",
    saveDraft: (/** @type {string | null} */ id, /** @type {string} */ text) => write(draftName(id), text),

    /** The turn that was sent to this conversation and is not confirmed yet.
     * @param {string | null} id @returns {Turn | null} */
    turn: (id) => read(turnName(id)),
    saveTurn: (/** @type {Turn} */ turn) => write(turnName(turn.request.conversationId), turn),
    /** Removes a turn that is confirmed or given up. A newer turn is not removed. @param {Turn | undefined} turn */
    removeTurn(turn) {
      const name = turnName(turn?.request.conversationId);
      if (turn && read(name)?.key === turn.key) write(name, null);
    },

    /** The turn of an answer that failed before its first text. @param {string} messageId
     * @returns {Turn | undefined} */
    failedTurn: (messageId) => (read(FAILED) ?? []).find((/** @type {any} */ [id]) => id === messageId)?.[1],
    saveFailedTurn(/** @type {string} */ messageId, /** @type {Turn} */ turn) {
      const others = (read(FAILED) ?? []).filter((/** @type {any} */ [id]) => id !== messageId);
      write(FAILED, [...others, [messageId, turn]].slice(-MAX_FAILED_TURNS));
    },
  };
}
