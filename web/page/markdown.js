/**
 * Renders markdown while it is streamed. A complete block is rendered once, the last blocks at each call, and
 * an open code block only gets more text. So the cost of a call does not depend on the length of the answer.
 */

import { copyButton } from "./copy.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { blocks, elements, target } from "./safe-html.js";

// From this number of characters on, a block is known not to continue the block before it.
const MIN_NEXT_LENGTH = 12;

export class MarkdownView {
  #text = "";
  #stable = 0; // characters whose elements are final
  /** @type {ChildNode[]} */ #open = [];
  /** @type {Record<string, any>} */ #links = {};
  /** @type {{ raw: string, text: Text } | null} */ #code = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  /** @param {string} text the whole text so far @param {boolean} ended */
  show(text, ended) {
    text = text.replaceAll(/\r\n?/g, "\n");
    if (!text.startsWith(this.#text)) this.#reset();
    this.#text = text;
    const unsettled = text.slice(this.#stable);
    if (!ended && this.#growCode(unsettled)) return;
    const tokens = blocks(unsettled, { ...this.#links });
    const settled = ended ? tokens.length : countSettled(tokens);
    // The address in an unsettled link definition may be incomplete, so it is not used.
    for (const { type, tag, href, title } of tokens.slice(0, settled)) {
      if (type === "def") this.#links[tag] ??= { href, title };
    }
    for (const node of this.#open) node.remove();
    this.#append(tokens.slice(0, settled));
    this.#stable += lengthOf(tokens.slice(0, settled));
    const open = tokens.slice(settled);
    this.#open = this.#append(open);
    this.#code = openCode(open, this.#open);
    // Link definitions can follow the links that use them, so everything is rendered again.
    if (ended && Object.keys(this.#links).length) this.#renderAll(text);
  }

  /** Appends new text to an open code block. Returns false if the block may have ended. */
  #growCode(/** @type {string} */ unsettled) {
    const code = this.#code;
    const more = code && unsettled.startsWith(code.raw) ? unsettled.slice(code.raw.length) : "";
    if (!code || !more || /[`~]/.test(more) || /[`~]\s*$/.test(code.raw)) return false;
    code.raw += more;
    code.text.appendData(more);
    return true;
  }

  #renderAll(/** @type {string} */ text) {
    const links = this.#links;
    this.#reset();
    this.#append(blocks(text, links));
    [this.#text, this.#stable] = [text, text.length];
  }

  #reset() {
    this.element.replaceChildren();
    [this.#text, this.#stable, this.#open, this.#links, this.#code] = ["", 0, [], {}, null];
  }

  #append(/** @type {any[]} */ tokens) {
    if (!tokens.length) return [];
    const fragment = elements(tokens);
    decorate(fragment);
    const nodes = [...fragment.childNodes];
    this.element.append(fragment);
    return nodes;
  }
}

/** The number of blocks that later text cannot change. @param {any[]} tokens */
function countSettled(tokens) {
  const last = tokens.findLastIndex(({ type }) => type !== "space");
  if (last < 1 || tokens[last].raw.length < MIN_NEXT_LENGTH) return 0;
  const before = tokens[last - 1];
  return before.type === "space" || before.raw.endsWith("\n\n") || before.type === "code" ? last : 0;
}

const lengthOf = (/** @type {{ raw: string }[]} */ tokens) =>
  tokens.reduce((sum, { raw }) => sum + raw.length, 0);

/** @param {any[]} tokens @param {ChildNode[]} nodes */
function openCode(tokens, nodes) {
  const token = tokens.at(-1);
  const frame = nodes.at(-1);
  const text = frame instanceof Element ? frame.querySelector("pre code")?.firstChild : null;
  // marked omits a newline at the end of the raw text. Text can be appended only if both texts end alike.
  const grows = token?.type === "code" && /^(?:```|~~~)/.test(token.raw) && text instanceof Text;
  if (!grows || !token.raw.endsWith(token.text) || token.raw.endsWith("\n")) return null;
  text.data = token.text;
  return { raw: token.raw, text };
}

/** Adds text directions, link targets, and buttons that copy code. */
function decorate(/** @type {DocumentFragment} */ fragment) {
  // Only on the outermost elements: to detect a direction, the browser ignores inner elements that have `dir`.
  for (const element of fragment.children) element.setAttribute("dir", "auto");
  for (const item of fragment.querySelectorAll("li")) {
    if (/^[☐☑] /.test(item.textContent ?? "")) item.className = "task";
  }
  for (const link of fragment.querySelectorAll("a")) decorateLink(link);
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", role: "group", tabindex: 0, "aria-label": t("table") });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) decorateCode(pre);
}

function decorateLink(/** @type {HTMLAnchorElement} */ link) {
  const href = link.getAttribute("href");
  if (!href) return link.replaceWith(...link.childNodes);
  const linkTarget = target(href, link.textContent ?? "");
  Object.assign(link, { rel: "noopener noreferrer nofollow", target: "_blank" });
  if (linkTarget) link.append(h("span", { class: "target", dir: "ltr" }, linkTarget));
}

function decorateCode(/** @type {HTMLPreElement} */ pre) {
  const code = pre.querySelector("code");
  const language = /(?:^|\s)language-([\w+#.-]{1,20})/.exec(code?.className ?? "")?.[1] ?? "";
  code?.removeAttribute("class");
  const copy = copyButton(t("copyCode"), () => code?.textContent ?? "");
  const name = language || t("code");
  const frame = h("div", { class: "code", dir: "ltr" }, h("div", { class: "code-head" }, h("span", {}, name), copy));
  pre.replaceWith(frame);
  pre.removeAttribute("dir");
  Object.assign(pre, { tabIndex: 0, role: "group" });
  pre.setAttribute("aria-label", t("codeIn", { language: name }));
  frame.append(pre);
}
