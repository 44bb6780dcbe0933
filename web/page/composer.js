/** Where a message is written: grows with it, keeps it for each conversation, sends it on Enter. */

import { byId } from "./dom.js";
import { i18n, t } from "./i18n.js";

const MOST = 32_000; // characters that the server takes
const TELL_FROM = 30_000;

/** @param {{ send: (text: string) => void, stop: () => void, keep: ReturnType<typeof import("./keep.js").createKeep> }} given */
export function createComposer({ send, stop, keep }) {
  const form = byId("composer");
  const field = byId("message");
  const sendButton = byId("send");
  const stopButton = byId("stop");
  const counter = byId("counter");
  /** @type {string | null} */
  let id = null;
  let running = false;
  let blocked = false;

  function show() {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    const length = Array.from(field.value).length;
    const over = length > MOST;
    counter.hidden = length < TELL_FROM;
    counter.dataset.over = String(over);
    counter.textContent = over ? t("tooLong", { count: length - MOST }) : i18n.number(MOST - length);
    sendButton.disabled = !field.value.trim() || over || blocked;
    sendButton.hidden = running;
    stopButton.hidden = !running;
  }

  function submit() {
    if (running || sendButton.disabled) return;
    const text = field.value.trim();
    write("");
    keep.saveDraft(id, "");
    send(text);
  }

  /** @param {string} text */
  function write(text) {
    field.value = text;
    show();
  }

  field.addEventListener("input", () => {
    keep.saveDraft(id, field.value);
    show();
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    // Enter also ends the composing of a Japanese word, and is no wish to send then.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    submit();
  });
  stopButton.addEventListener("click", () => {
    stopButton.disabled = true;
    stop();
    field.focus();
  });
  addEventListener("resize", show);

  return {
    /** @param {string | null} conversationId */
    open(conversationId) {
      id = conversationId;
      write(keep.draft(id));
    },
    /** The conversation that was begun here has its id now; what is being written goes with it.
     * @param {string} conversationId */
    adopt(conversationId) {
      keep.saveDraft(id, "");
      id = conversationId;
      keep.saveDraft(id, field.value);
    },
    /** @param {{ running: boolean, blocked: boolean }} given */
    become(given) {
      if (given.running && !running) stopButton.disabled = false;
      const focused = document.activeElement === stopButton;
      ({ running, blocked } = given);
      show();
      if (focused && !running) field.focus();
    },
    /** Puts a text there, before what is written already. @param {string} text */
    insert(text) {
      write(field.value.trim() ? `${text}\n\n${field.value}` : text);
      keep.saveDraft(id, field.value);
      field.focus();
    },
    focus: () => field.focus(),
  };
}
