/**
 * Converts markdown to safe elements. Raw HTML is shown as text, images become links, and links can only have
 * http, https and mailto addresses. The result passes DOMPurify with a short list of allowed names.
 */

import { Lexer, Marked } from "../vendor/marked.esm.js";
import "../vendor/purify.min.js";

const { DOMPurify } = /** @type {any} */ (globalThis);

// Inline tags without attributes that models use in text.
const ALLOWED_INLINE_HTML = /^<\/?(?:br|sub|sup|kbd|mark|s|u)\s*\/?>$/i;
const ALLOWED_ADDRESS = /^(?:https?:\/\/|mailto:)/i;

const PURIFY_OPTIONS = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "mark", "ol", "p", "pre",
    "s", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
  ],
  ALLOWED_ATTR: ["href", "start", "align", "class"],
  ADD_URI_SAFE_ATTR: ["start", "align", "class"],
  ALLOWED_URI_REGEXP: ALLOWED_ADDRESS,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const escape = (/** @type {string} */ text) =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const renderer = {
  html(/** @type {{ text: string, block?: boolean }} */ { text, block }) {
    if (block) return `<p>${escape(text.trim())}</p>`;
    return ALLOWED_INLINE_HTML.test(text) ? text : escape(text);
  },

  heading(/** @type {any} */ { tokens, depth }) {
    // The page has a heading of level 1, and each message one of level 2.
    const level = Math.min(6, depth + 2);
    return `<h${level}>${/** @type {any} */ (this).parser.parseInline(tokens)}</h${level}>\n`;
  },

  link(/** @type {any} */ { href, tokens }) {
    return anchor(href, /** @type {any} */ (this).parser.parseInline(tokens));
  },

  image(/** @type {any} */ { href, text }) {
    return anchor(href, escape(text || href));
  },

  checkbox(/** @type {{ checked: boolean }} */ { checked }) {
    return checked ? "☑ " : "☐ ";
  },
};

const anchor = (/** @type {string} */ href, /** @type {string} */ html) =>
  ALLOWED_ADDRESS.test(href) ? `<a href="${escape(href)}">${html}</a>` : html;

const marked = new Marked({ gfm: true, breaks: true, renderer: /** @type {any} */ (renderer) });

/** The blocks of a text. `links` are earlier link definitions. The definitions in the text are added to them.
 * @param {string} text @param {Record<string, any>} links @returns {any[]} */
export function blocks(text, links) {
  /** @type {any} */
  const lexer = new Lexer(marked.defaults);
  lexer.tokens.links = links;
  return lexer.lex(text);
}

/** Unsafe HTML. @param {any[]} tokens @returns {string} */
export const html = (tokens) => marked.parser(tokens);

/** @param {any[]} tokens @returns {DocumentFragment} */
export const elements = (tokens) => DOMPurify.sanitize(html(tokens), PURIFY_OPTIONS);

/** The target that is shown beside a link: its host or mail address, or nothing if its text starts with it.
 * @param {string} href @param {string} text */
export function target(href, text) {
  if (!URL.canParse(href)) return "";
  const url = new URL(href);
  const address = url.protocol === "mailto:" ? url.pathname : url.host;
  const label = text.trim().replace(/^https?:\/\/|^mailto:/i, "");
  return label === address || label.startsWith(`${address}/`) ? "" : address;
}
