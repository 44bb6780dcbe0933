/**
 * Shows markdown while it is written: blocks that are complete are made once, the last ones anew at each
 * call, and a block of code just grows. The cost of a call is that of its last blocks, however long the
 * answer is.
 */

import { copyButton } from "./copy.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { blocks, elements, target } from "./safe-html.js";

// As many characters tell a new block from what would still belong to the one before it.
const TELLING = 12;

export class MarkdownView {
  #text = "";
  #stable = 0; // characters whose elements stay
  /** @type {ChildNode[]} */ #tail = [];
  /** @type {Record<string, any>} */ #links = {};
  /** @type {{ raw: string, text: Text } | null} */ #code = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  /** @param {string} text the whole of it, so far @param {boolean} ended */
  show(text, ended) {
    text = text.replaceAll(/\r\n?/g, "\n");
    if (!text.startsWith(this.#text)) this.#reset();
    this.#text = text;
    const fresh = text.slice(this.#stable);
    if (!ended && this.#grow(fresh)) return;
    const tokens = blocks(fresh, { ...this.#links });
    const settled = ended ? tokens.length : countSettled(tokens);
    // Of a definition that is still being written, nothing is kept: its address may be cut.
    for (const { type, tag, href, title } of tokens.slice(0, settled)) {
      if (type === "def") this.#links[tag] ??= { href, title };
    }
    for (const node of this.#tail) node.remove();
    this.#append(tokens.slice(0, settled));
    this.#stable += lengthOf(tokens.slice(0, settled));
    const open = tokens.slice(settled);
    this.#tail = this.#append(open);
    this.#code = openCode(open, this.#tail);
    // Definitions come last, and links that need them before.
    if (ended && Object.keys(this.#links).length) this.#again(text);
  }

  /** A fence that is open takes all that comes, until it is closed. */
  #grow(/** @type {string} */ fresh) {
    const code = this.#code;
    const more = code && fresh.startsWith(code.raw) ? fresh.slice(code.raw.length) : "";
    if (!code || !more || /[`~]/.test(more) || /[`~]\s*$/.test(code.raw)) return false;
    code.raw += more;
    code.text.appendData(more);
    return true;
  }

  #again(/** @type {string} */ text) {
    const links = this.#links;
    this.#reset();
    this.#append(blocks(text, links));
    [this.#text, this.#stable] = [text, text.length];
  }

  #reset() {
    this.element.replaceChildren();
    [this.#text, this.#stable, this.#tail, this.#links, this.#code] = ["", 0, [], {}, null];
  }

  #append(/** @type {any[]} */ tokens) {
    if (!tokens.length) return [];
    const fragment = elements(tokens);
    finish(fragment);
    const made = [...fragment.childNodes];
    this.element.append(fragment);
    return made;
  }
}

/** How many of the blocks nothing can change any more that comes after them. @param {any[]} tokens */
function countSettled(tokens) {
  const last = tokens.findLastIndex(({ type }) => type !== "space");
  if (last < 1 || tokens[last].raw.length < TELLING) return 0;
  const before = tokens[last - 1];
  return before.type === "space" || before.raw.endsWith("\n\n") || before.type === "code" ? last : 0;
}

const lengthOf = (/** @type {{ raw: string }[]} */ tokens) =>
  tokens.reduce((sum, { raw }) => sum + raw.length, 0);

/** @param {any[]} tokens @param {ChildNode[]} made */
function openCode(tokens, made) {
  const token = tokens.at(-1);
  const frame = made.at(-1);
  const text = frame instanceof Element ? frame.querySelector("pre code")?.firstChild : null;
  // The newline at the end of a block's raw text is not in its text yet: only whole agreement grows.
  const grows = token?.type === "code" && /^(?:```|~~~)/.test(token.raw) && text instanceof Text;
  if (!grows || !token.raw.endsWith(token.text) || token.raw.endsWith("\n")) return null;
  text.data = token.text;
  return { raw: token.raw, text };
}

/** What elements need on the page: their direction, where links lead, and code that can be copied. */
function finish(/** @type {DocumentFragment} */ fragment) {
  // Only the outermost: an element with a direction of its own tells nothing of that of the one around it.
  for (const element of fragment.children) element.setAttribute("dir", "auto");
  for (const item of fragment.querySelectorAll("li")) {
    if (/^[☐☑] /.test(item.textContent ?? "")) item.className = "task";
  }
  for (const link of fragment.querySelectorAll("a")) finishLink(link);
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", role: "group", tabindex: 0, "aria-label": t("table") });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) finishCode(pre);
}

function finishLink(/** @type {HTMLAnchorElement} */ link) {
  const href = link.getAttribute("href");
  if (!href) return link.replaceWith(...link.childNodes);
  const place = target(href, link.textContent ?? "");
  Object.assign(link, { rel: "noopener noreferrer nofollow", target: "_blank" });
  if (place) link.append(h("span", { class: "target", dir: "ltr" }, place));
}

function finishCode(/** @type {HTMLPreElement} */ pre) {
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
