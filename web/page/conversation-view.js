/** The view of the open conversation: its messages, its state, and the message field. */

import { createAnnouncer } from "./announcer.js";
import { createComposer } from "./composer.js";
import { byId, h } from "./dom.js";
import { i18n, t } from "./i18n.js";
import { MessageList } from "./message-list.js";

const SUGGESTIONS = ["suggestion1", "suggestion2", "suggestion3"];
// States that are shown in a line above the composer.
const SHOWN = new Set(["connecting", "thinking", "reconnecting", "offline", "busy"]);
const BLOCKED = new Set(["loading", "limited", "budget", "missing"]);

/**
 * @param {import("./thread.js").Thread} thread @param {ReturnType<typeof import("./tab-storage.js").createTabStorage>} tabStorage
 * @param {() => void} signIn
 */
export function createConversationView(thread, tabStorage, signIn) {
  const view = byId("conversation");
  const status = byId("status");
  const empty = byId("empty");
  const latest = byId("latest");
  const announcer = createAnnouncer(byId("announcements"), i18n.language);
  const composer = createComposer({ send: (text) => thread.send(text), stop: () => thread.stop(), tabStorage });
  const actions = {
    retry: (/** @type {any} */ message) => thread.retry(message),
    proceed: () => thread.send(t("goOn")),
    discard: (/** @type {any} */ message) => composer.insert(thread.discard(message)),
  };
  const list = new MessageList(byId("scroller"), actions, () => thread.older().catch(() => {}));
  let ticker = 0;
  /** @type {any} */
  let error = null;

  function drawState() {
    const { state } = thread;
    view.dataset.state = state;
    clearInterval(ticker);
    if (thread.until) ticker = window.setInterval(tick, 1000);
    status.replaceChildren(...statusOf(state));
    composer.setState({ running: thread.running, blocked: BLOCKED.has(state) });
    empty.hidden = thread.messages.length > 0 || state === "loading" || thread.id !== null;
    requestAnimationFrame(updateActions);
  }

  /** @param {string} state @returns {(string | Node)[]} */
  function statusOf(state) {
    if (SHOWN.has(state)) return [h("span", { class: "pulse", "aria-hidden": "true" }), t(`is.${state}`)];
    if (state === "limited") {
      const [before, after] = t("is.limited", { time: "\n" }).split("\n");
      return [h("span", {}, before, h("strong", { id: "countdown", role: "timer", "aria-live": "off" }, timeLeft()), after)];
    }
    if (state === "budget") return [t("is.budget", { time: i18n.clock(thread.until) })];
    if (state === "signed-out") {
      const key = error?.code === "forbidden" ? "signInFirst" : "signInAgain";
      return [t(key), " ", h("button", { type: "button", class: "quiet", onclick: signIn }, t("signIn"))];
    }
    if (state === "missing" || (state === "failed" && !thread.messages.length)) {
      const again = h("button", { type: "button", class: "quiet", onclick: () => thread.open(thread.id) }, t("retry"));
      return [t(state === "missing" ? "missing" : "loadFailed"), " ", ...(state === "missing" ? [] : [again])];
    }
    return [];
  }

  const timeLeft = () => t("seconds", { count: Math.max(0, Math.ceil((thread.until - Date.now()) / 1000)) });

  function tick() {
    if (Date.now() >= thread.until) return thread.recover();
    const countdown = byId("countdown");
    if (countdown) countdown.textContent = timeLeft();
  }

  /** Disables the buttons of actions that are not possible now. */
  function updateActions() {
    for (const button of list.element.querySelectorAll("[data-act]")) {
      button.disabled = thread.running || (BLOCKED.has(thread.state) && button.dataset.act !== "discard");
    }
  }

  /** @param {string} type @param {(detail: any) => void} handler */
  const on = (type, handler) => thread.addEventListener(type, (event) => handler(/** @type {any} */ (event).detail));
  on("open", () => {
    list.open(thread.messages);
    drawState();
  });
  on("older", (count) => list.prepended(thread.messages, count));
  on("added", ({ own }) => {
    list.added(thread.messages, own);
    drawState();
  });
  on("message", (message) => {
    list.changed(message);
    requestAnimationFrame(updateActions);
  });
  on("state", (detail) => {
    const before = view.dataset.state;
    error = detail;
    drawState();
    const answer = thread.messages.findLast((message) => message.status === "streaming");
    if (thread.state === "streaming" && before !== "streaming" && answer) {
      announcer.begin(() => list.view(answer)?.spoken ?? "");
    }
  });
  on("settled", () => requestAnimationFrame(() => requestAnimationFrame(announcer.end)));
  list.addEventListener("follow", () => (latest.hidden = list.following));
  latest.addEventListener("click", () => {
    list.toEnd();
    composer.focus();
  });
  byId("suggestions").append(
    ...SUGGESTIONS.map((key) => h("button", { type: "button", class: "suggestion", onclick: () => composer.insert(t(key)) }, t(key))),
  );

  return {
    /** @param {string | null} id @param {string | null} messageId a message to scroll to
     * @param {boolean} focus whether the message field gets the focus */
    async open(id, messageId, focus) {
      composer.open(id);
      await thread.open(id);
      // Another conversation was opened meanwhile.
      if (thread.id !== id) return;
      if (messageId) await reveal(messageId);
      else if (focus && matchMedia("(pointer: fine)").matches) composer.focus();
    },
    setConversation: composer.setConversation,
    say: announcer.say,
  };

  /** Reads older messages until the message is found, and scrolls to it. @param {string} messageId */
  async function reveal(messageId) {
    const find = () => thread.messages.find(({ id }) => id === messageId);
    const { id } = thread;
    while (!find() && thread.hasOlder && thread.id === id) await thread.older(100);
    const message = find();
    if (message && thread.id === id) list.reveal(message);
  }
}
