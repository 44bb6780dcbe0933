/** The search field above the conversations. Shows results while the user types, each with a link to its
 * message. */

import { byId, h } from "./dom.js";
import { i18n, t } from "./i18n.js";

const DELAY_MS = 200;

/** @param {ReturnType<typeof import("./api.js").createApi>} api @param {() => boolean} hasToken
 * @param {(text: string) => void} announce */
export function createSearch(api, hasToken, announce) {
  const field = byId("search");
  const results = byId("results");
  const list = byId("conversations");
  let request = new AbortController();
  let timer = 0;

  async function search() {
    request.abort();
    request = new AbortController();
    const { signal } = request;
    const query = field.value.trim();
    results.hidden = !query;
    list.hidden = !!query;
    if (!query) return results.replaceChildren();
    try {
      const found = hasToken() ? (await api.search(query, signal)).results : [];
      const count = t("found", { count: found.length });
      const heading = h("p", { class: "hint" }, count);
      results.replaceChildren(heading, h("ul", {}, ...found.map(resultItem)));
      announce(count);
    } catch {
      if (!signal.aborted) results.replaceChildren(h("p", { class: "hint" }, t("searchFailed")));
    }
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(search, DELAY_MS);
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || !field.value) return;
    event.preventDefault();
    event.stopPropagation();
    field.value = "";
    search();
  });
  byId("search-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    search();
  });
}

/** @param {any} result */
function resultItem({ message_id, conversation_id, title, role, snippet, matches, created_at }) {
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

/** The snippet with its matches marked. The positions of matches are in code points. @param {string} snippet
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
