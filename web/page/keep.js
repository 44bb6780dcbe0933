/** What a reload must not lose, in this tab's session storage: drafts, and turns nobody has confirmed yet. */

const DRAFT = "chat.draft.";
const TURN = "chat.turn.";
const FAILED = "chat.failed";
// As many failed turns as are remembered with the key that lets them be tried again.
const MOST = 20;

/** @typedef {{ key: string, request: import("../chat-client.js").ChatRequest, at: string }} Turn */

export function createKeep(storage = sessionStorage) {
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
      // Full, or forbidden: then a reload forgets.
    }
  };
  const draftOf = (/** @type {string | null} */ id) => DRAFT + (id ?? "new");
  const turnOf = (/** @type {string | null | undefined} */ id) => TURN + (id ?? "new");

  return {
    draft: (/** @type {string | null} */ id) => read(draftOf(id)) ?? "",
    saveDraft: (/** @type {string | null} */ id, /** @type {string} */ text) => write(draftOf(id), text),

    /** The turn that was sent to this conversation and not heard of.
     * @param {string | null} id @returns {Turn | null} */
    turn: (id) => read(turnOf(id)),
    saveTurn: (/** @type {Turn} */ turn) => write(turnOf(turn.request.conversationId), turn),
    /** It was heard of, or never will be; another one that was sent since stays. @param {Turn | undefined} turn */
    forgetTurn(turn) {
      const name = turnOf(turn?.request.conversationId);
      if (turn && read(name)?.key === turn.key) write(name, null);
    },

    /** The turn behind an answer that failed before its first word. @param {string} messageId
     * @returns {Turn | undefined} */
    failed: (messageId) => (read(FAILED) ?? []).find((/** @type {any} */ [id]) => id === messageId)?.[1],
    saveFailed(/** @type {string} */ messageId, /** @type {Turn} */ turn) {
      const others = (read(FAILED) ?? []).filter((/** @type {any} */ [id]) => id !== messageId);
      write(FAILED, [...others, [messageId, turn]].slice(-MOST));
    },
  };
}
