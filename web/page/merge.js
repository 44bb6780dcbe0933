/** Merges the newest messages on the server into the messages on the page. */

import { isLocal } from "./message.js";

/** @typedef {import("./message.js").Message} Message */

/**
 * @param {Message[]} here the messages on the page, which are modified
 * @param {Message[]} stored the newest messages on the server, oldest first
 * @returns {{ changed: Message[], added: number, atEnd: boolean }}
 */
export function merge(here, stored) {
  const known = new Map(here.map((message) => [message.id, message]));
  /** @type {Message[]} */
  const changed = [];
  stored.forEach((message, index) => {
    const before = known.get(message.id);
    if (!before) return;
    if (before.status !== message.status) changed.push(Object.assign(before, message));
    // The page may know the id of the answer, but not the id of its question.
    const question = here[here.indexOf(before) - 1];
    const storedQuestion = stored[index - 1];
    if (!question || !isLocal(question) || storedQuestion?.role !== "user") return;
    known.set(storedQuestion.id, question);
    changed.push(Object.assign(question, { id: storedQuestion.id, created_at: storedQuestion.created_at }));
  });
  const newMessages = stored.filter(({ id }) => !known.has(id));
  // Messages that are not stored stay at the end.
  const firstLocal = here.findIndex(isLocal);
  here.splice(firstLocal < 0 ? here.length : firstLocal, 0, ...newMessages);
  return { changed, added: newMessages.length, atEnd: firstLocal < 0 };
}
