/** What the server has of the end of a conversation, brought into what is on the page. */

import { isLocal } from "./message.js";

/** @typedef {import("./message.js").Message} Message */

/**
 * @param {Message[]} here what is on the page: added to, and changed
 * @param {Message[]} stored the newest messages of the server, oldest of them first
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
    // The question before it may have been heard of by its answer alone.
    const question = here[here.indexOf(before) - 1];
    const asked = stored[index - 1];
    if (!question || !isLocal(question) || asked?.role !== "user") return;
    known.set(asked.id, question);
    changed.push(Object.assign(question, { id: asked.id, created_at: asked.created_at }));
  });
  const fresh = stored.filter(({ id }) => !known.has(id));
  // One that was refused here, and has not been stored, stays where it is: at the end.
  const unsent = here.findIndex(isLocal);
  here.splice(unsent < 0 ? here.length : unsent, 0, ...fresh);
  return { changed, added: fresh.length, atEnd: unsent < 0 };
}
