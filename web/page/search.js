/** The search field above the conversations: results as they are typed for, each a link to its message. */

import { byId, h } from "./dom.js";
import { i18n, t } from "./i18n.js";

const PAUSE_MS = 200;

/** @param {ReturnType<typeof import("./api.js").createApi>} api @param {() => boolean} hasToken
 * @param {(text: string) => void} say */
export function createSearch(api, hasToken, say) {
  const field = byId("search");
  const results = byId("results");
  const list = byId("conversations");
  let asking = new AbortController();
  let timer = 0;

  async function ask() {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const typed = field.value.trim();
    results.hidden = !typed;
    list.hidden = !!typed;
    if (!typed) return results.replaceChildren();
    try {
      const found = hasToken() ? (await api.search(typed, signal)).results : [];
      const count = t("found", { count: found.length });
      const heading = h("p", { class: "hint" }, count);
      results.replaceChildren(heading, h("ul", {}, ...found.map(resultOf)));
      say(count);
    } catch {
      if (!signal.aborted) results.replaceChildren(h("p", { class: "hint" }, t("searchFailed")));
    }
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(ask, PAUSE_MS);
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || !field.value) return;
    event.preventDefault();
    event.stopPropagation();
    field.value = "";
    ask();
  });
  byId("search-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    ask();
  });
}

/** @param {any} result */
function resultOf({ message_id, conversation_id, title, role, snippet, matches, created_at }) {
  const who = t(role === "user" ? "you" : "assistant");
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#c=${conversation_id}&m=${message_id}`, dir: "auto" },
      h("strong", {}, title ?? t("untitled")),
      h("span", { class: "snippet" }, ...marked(snippet, matches)),
      h("small", {}, `${who} · ${i18n.time(created_at)}`),
    ),
  );
}

/** The snippet with its matches marked; their places count code points. @param {string} snippet
 * @param {[number, number][]} matches @returns {(string | Node)[]} */
function marked(snippet, matches) {
  const characters = Array.from(snippet);
  const between = (/** @type {number} */ from, to = characters.length) => characters.slice(from, to).join("");
  const parts = matches.flatMap(([from, to], index) => [
    between(matches[index - 1]?.[1] ?? 0, from),
    h("mark", {}, between(from, to)),
  ]);
  return [...parts, between(matches.at(-1)?.[1] ?? 0)];
}
