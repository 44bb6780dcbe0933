/**
 * Markdown to elements that can do nothing: raw HTML is shown as the text it is, images become links, links
 * lead only to the web and to mail, and what is left passes DOMPurify with a short list of names.
 */

import { Lexer, Marked } from "../vendor/marked.esm.js";
import "../vendor/purify.min.js";

const { DOMPurify } = /** @type {any} */ (globalThis);

// Marks without attributes that models write between words, and nothing else.
const HARMLESS = /^<\/?(?:br|sub|sup|kbd|mark|s|u)\s*\/?>$/i;
const LEADS_SOMEWHERE = /^(?:https?:\/\/|mailto:)/i;

const SHORT_LIST = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "mark", "ol", "p", "pre",
    "s", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
  ],
  ALLOWED_ATTR: ["href", "start", "align", "class"],
  ADD_URI_SAFE_ATTR: ["start", "align", "class"],
  ALLOWED_URI_REGEXP: LEADS_SOMEWHERE,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const escape = (/** @type {string} */ text) =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const renderer = {
  html(/** @type {{ text: string, block?: boolean }} */ { text, block }) {
    if (block) return `<p>${escape(text.trim())}</p>`;
    return HARMLESS.test(text) ? text : escape(text);
  },

  heading(/** @type {any} */ { tokens, depth }) {
    // The page has a first heading, and each message its second.
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
  LEADS_SOMEWHERE.test(href) ? `<a href="${escape(href)}">${html}</a>` : html;

const marked = new Marked({ gfm: true, breaks: true, renderer: /** @type {any} */ (renderer) });

/** The blocks of a text. `links` are definitions from before it, to which its own are added.
 * @param {string} text @param {Record<string, any>} links @returns {any[]} */
export function blocks(text, links) {
  /** @type {any} */
  const lexer = new Lexer(marked.defaults);
  lexer.tokens.links = links;
  return lexer.lex(text);
}

/** As HTML, which is not yet to be trusted. @param {any[]} tokens @returns {string} */
export const html = (tokens) => marked.parser(tokens);

/** @param {any[]} tokens @returns {DocumentFragment} */
export const elements = (tokens) => DOMPurify.sanitize(html(tokens), SHORT_LIST);

/** What a link shows of where it leads: the host, or the address a mail goes to; nothing if its text says
 * the same. @param {string} href @param {string} text */
export function target(href, text) {
  if (!URL.canParse(href)) return "";
  const url = new URL(href);
  const place = url.protocol === "mailto:" ? url.pathname : url.host;
  const said = text.trim().replace(/^https?:\/\/|^mailto:/i, "");
  return said === place || said.startsWith(`${place}/`) ? "" : place;
}
