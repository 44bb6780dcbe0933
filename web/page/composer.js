/** The message field: grows with its text, keeps a draft for each conversation, and sends on Enter. */

import { byId } from "./dom.js";
import { i18n, t } from "./i18n.js";

const MAX_LENGTH = 32_000; // characters; the server's limit
const COUNTER_FROM = 30_000;

/** @param {{ send: (text: string) => void, stop: () => void, tabStorage: ReturnType<typeof import("./tab-storage.js").createTabStorage> }} given */
export function createComposer({ send, stop, tabStorage }) {
  const form = byId("composer");
  const field = byId("message");
  const sendButton = byId("send");
  const stopButton = byId("stop");
  const counter = byId("counter");
  /** @type {string | null} */
  let id = null;
  let running = false;
  let blocked = false;

  function update() {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    const length = Array.from(field.value).length;
    const tooLong = length > MAX_LENGTH;
    counter.hidden = length < COUNTER_FROM;
    counter.dataset.over = String(tooLong);
    counter.textContent = tooLong ? t("tooLong", { count: length - MAX_LENGTH }) : i18n.number(MAX_LENGTH - length);
    sendButton.disabled = !field.value.trim() || tooLong || blocked;
    sendButton.hidden = running;
    stopButton.hidden = !running;
  }

  function submit() {
    if (running || sendButton.disabled) return;
    const text = field.value.trim();
    setText("");
    tabStorage.saveDraft(id, "");
    send(text);
  }

  /** @param {string} text */
  function setText(text) {
    field.value = text;
    update();
  }

  field.addEventListener("input", () => {
    tabStorage.saveDraft(id, field.value);
    update();
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    // In an input method, for instance for Japanese, Enter confirms a word and must not send.
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
  addEventListener("resize", update);

  return {
    /** @param {string | null} conversationId */
    open(conversationId) {
      id = conversationId;
      setText(tabStorage.draft(id));
    },
    /** The new conversation has got its id. Its draft moves to this id.
     * @param {string} conversationId */
    setConversation(conversationId) {
      tabStorage.saveDraft(id, "");
      id = conversationId;
      tabStorage.saveDraft(id, field.value);
    },
    /** @param {{ running: boolean, blocked: boolean }} given */
    setState(given) {
      if (given.running && !running) stopButton.disabled = false;
      const focused = document.activeElement === stopButton;
      ({ running, blocked } = given);
      update();
      if (focused && !running) field.focus();
    },
    /** Inserts a text before the current text. @param {string} text */
    insert(text) {
      setText(field.value.trim() ? `${text}\n\n${field.value}` : text);
      tabStorage.saveDraft(id, field.value);
      field.focus();
    },
    focus: () => field.focus(),
  };
}
