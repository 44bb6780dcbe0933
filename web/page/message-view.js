/** The view of one message: author, text, time, cost, and the actions after an error. */

import { copyButton } from "./copy.js";
import { h } from "./dom.js";
import { i18n, t } from "./i18n.js";
import { MarkdownView } from "./markdown.js";
import { isLocal } from "./message.js";

// Some local models put their thinking at the beginning of the text.
const THINKING = /^\s*<think>([\s\S]*?)(?:<\/think>\s*|$)([\s\S]*)$/;

/** @typedef {import("./message.js").Message} Message
 * @typedef {{ retry: (message: Message) => void, proceed: (message: Message) => void,
 *   discard: (message: Message) => void }} Actions */

export class MessageView {
  #body = h("div", { class: "body" });
  #foot = h("footer", { class: "foot" });
  /** @type {MarkdownView | null} */ #markdown = null;
  /** @type {any} */ #thinking = null;
  #scheduled = false;

  /** @param {Message} message @param {Actions} actions */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    const name = t(message.role === "user" ? "you" : "assistant");
    const heading = h("h2", { class: "visually-hidden" }, name);
    this.element = h("article", { class: "message", data: { role: message.role } }, heading, this.#body, this.#foot);
    this.draw();
  }

  /** Redraws the message in the next frame, at most once per frame. */
  change() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.draw();
    });
  }

  draw() {
    const { message, element } = this;
    Object.assign(element.dataset, { messageId: message.id, status: message.status });
    if (message.role === "user") this.#drawQuestion(message);
    else this.#drawAnswer(message);
    this.#foot.replaceChildren(...this.#footParts(message));
  }

  /** The text of an answer for screen readers. */
  get spoken() {
    return this.#markdown?.element.textContent ?? "";
  }

  #drawQuestion(/** @type {Message} */ { content }) {
    if (this.#body.textContent !== content) this.#body.replaceChildren(h("p", { dir: "auto" }, content));
  }

  #drawAnswer(/** @type {Message} */ { content, status }) {
    const [, thought, answerText] = THINKING.exec(content) ?? [null, "", content];
    if (thought.trim()) this.#drawThinking(thought.trim());
    if (!this.#markdown) {
      const text = h("div", { class: "markdown", dir: "auto" });
      this.#body.append(text);
      this.#markdown = new MarkdownView(text);
    }
    this.#markdown.show(answerText, status !== "streaming");
  }

  #drawThinking(/** @type {string} */ thought) {
    if (!this.#thinking) {
      const text = h("p", { dir: "auto" });
      const folded = h("details", { class: "thought" }, h("summary", {}, t("thought")), text);
      this.#body.prepend(folded);
      this.#thinking = text;
    }
    this.#thinking.textContent = thought;
  }

  /** @param {Message} message */
  #footParts(message) {
    if (message.status === "streaming") return [];
    const { role, status, content, metadata, created_at } = message;
    const shown = [h("time", { datetime: created_at, title: i18n.moment(created_at) }, i18n.time(created_at))];
    if (role === "user") return [h("div", { class: "facts" }, ...shown)];
    if (message.token_count) shown.push(h("span", {}, t("tokens", { count: message.token_count })));
    if (metadata.cost_usd != null) {
      shown.push(h("span", { title: t("model", { name: metadata.model }) }, i18n.money(metadata.cost_usd)));
    }
    shown.push(copyButton(t("copyAnswer"), () => this.message.content));
    const notice = noticeFor(message);
    return [
      ...(notice ? [this.#notice(message, notice)] : []),
      ...(content ? [h("div", { class: "facts" }, ...shown)] : []),
    ];
  }

  /** @param {Message} message @param {Notice} notice */
  #notice(message, { text, acts, tone = "warm" }) {
    const code = message.error?.code ?? message.metadata.code ?? message.metadata.finish_reason ?? "";
    const buttons = acts.map((act) => {
      const onclick = () => this.actions[act](message);
      return h("button", { type: "button", class: "quiet", data: { act }, onclick }, t(act));
    });
    return h("div", { class: "notice", data: { code, tone } }, h("p", {}, text), h("div", { class: "acts" }, ...buttons));
  }
}

/** @typedef {{ text: string, acts: (keyof Actions)[], tone?: "calm" | "warm" }} Notice */

/** How an answer ended and which actions are possible; null if it ended normally. @param {Message} message
 * @returns {Notice | null} */
function noticeFor(message) {
  const { status, content, error, metadata } = message;
  const acts = /** @type {(keyof Actions)[]} */ (content ? ["proceed", "retry"] : ["retry"]);
  if (status === "cancelled") return { text: t("wasStopped"), acts, tone: "calm" };
  if (status === "interrupted") return { text: t("wasInterrupted"), acts };
  if (status === "error") {
    const isUnsent = !content && message.turn && isLocal(message);
    // The server may have the rest of the text. `retry` reads the rest.
    const isLost = error?.code === "connection_lost" && !isUnsent;
    return { text: explain(error, metadata.code), acts: isUnsent ? ["retry", "discard"] : isLost ? ["retry"] : acts };
  }
  if (metadata.finish_reason === "length") return { text: t("wasTooLong"), acts: ["proceed"], tone: "calm" };
  return metadata.finish_reason === "content_filter" ? { text: t("wasFiltered"), acts: [] } : null;
}

const TEXT_BY_CODE = new Map([
  ["unauthorized", "signInAgain"],
  ["forbidden", "signInFirst"],
  ["rate_limited", "notSent"],
  ["budget_exceeded", "notSent"],
  ["conflict", "busyElsewhere"],
  ["too_large", "tooLarge"],
  ["not_found", "missing"],
  ["connection_lost", "connectionLost"],
  ["answer_failed", "brokeOff"],
]);

/** The text for an error, in the user's language.
 * @param {import("../chat-client.js").ChatError | undefined} error @param {string} [code] */
export function explain(error, code) {
  const key = TEXT_BY_CODE.get(error?.code ?? code ?? "");
  return t(key ?? (error || code ? "failedOnce" : "brokeOff"));
}
