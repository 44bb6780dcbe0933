/** The list of conversations, grouped by age, with buttons to rename and delete. */

import { activity } from "./conversations.js";
import { byId, h, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const DAY_MS = 86_400_000;

/**
 * @param {import("./conversations.js").Conversations} conversations
 * @param {{ remove: (id: string) => void, rename: (id: string, title: string) => void }} actions
 */
export function createSidebar(conversations, actions) {
  const list = byId("conversations");
  const more = h("div", { class: "more" });
  /** @type {Map<string, { key: string, element: any }>} */
  const rows = new Map();
  /** @type {string | null} */
  let openId = null;
  let editing = "";
  const bottom = new IntersectionObserver(
    ([entry]) => entry.isIntersecting && conversations.loaded && conversations.loadMore(),
    { root: list, rootMargin: "400px" },
  );
  bottom.observe(more);

  function draw() {
    if (editing) return;
    const visible = conversations.visible;
    const groups = new Map();
    for (const conversation of visible) {
      const age = ageOf(activity(conversation));
      groups.set(age, [...(groups.get(age) ?? []), conversation]);
    }
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.focus;
    const parts = [...groups].map(([age, members]) =>
      h("section", {}, h("h3", {}, t(age)), h("ul", {}, ...members.map(rowOf))),
    );
    if (!visible.length) parts.push(h("p", { class: "hint" }, t(stateOfList())));
    list.replaceChildren(...parts, more);
    if (focused) list.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
    if (!conversations.error) watchEnd();
  }

  /** An observer only reports changes. It starts again after each page, because the end may still be visible.
   * After a failure, the next scroll loads the page. */
  function watchEnd() {
    bottom.unobserve(more);
    bottom.observe(more);
  }

  function stateOfList() {
    if (conversations.error) return "listFailed";
    return conversations.loaded ? "noConversations" : "noConversationsYet";
  }

  /** @param {import("./conversations.js").Conversation} conversation */
  function rowOf(conversation) {
    const { id } = conversation;
    const title = conversation.title ?? t("untitled");
    const key = `${title}|${id === openId}`;
    const known = rows.get(id);
    if (known?.key === key) return known.element;
    const link = h(
      "a",
      { href: `#c=${id}`, "aria-current": id === openId && "page", dir: "auto", data: { focus: id } },
      title,
    );
    const rename = iconButton("edit", t("rename", { title }), () => edit(conversation, element), { "data-focus": `rename-${id}` });
    const remove = iconButton("trash", t("delete", { title }), () => {
      const next = element.nextElementSibling ?? element.previousElementSibling;
      actions.remove(id);
      (next?.isConnected ? next.querySelector("a") : byId("new-chat")).focus();
    });
    const element = h("li", { data: { id } }, link, rename, remove);
    rows.set(id, { key, element });
    return element;
  }

  /** @param {import("./conversations.js").Conversation} conversation @param {HTMLElement} element */
  function edit({ id, title }, element) {
    editing = id;
    const field = h("input", { value: title ?? "", maxlength: 200, dir: "auto", "aria-label": t("newTitle") });
    const children = [...element.children];
    const end = (/** @type {boolean} */ keep, /** @type {boolean} */ byKey) => {
      if (editing !== id) return;
      editing = "";
      element.replaceChildren(...children);
      const typed = field.value.trim();
      if (keep && typed && typed !== title) actions.rename(id, typed);
      draw();
      // After a click elsewhere the focus stays there.
      if (byKey) list.querySelector(`[data-focus="rename-${id}"]`)?.focus();
    };
    field.addEventListener("blur", () => end(true, false));
    field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      end(event.key === "Enter", true);
    });
    element.replaceChildren(field);
    field.focus();
    field.select();
  }

  conversations.addEventListener("change", draw);

  return {
    /** @param {string | null} id */
    open(id) {
      openId = id;
      draw();
    },
    draw,
  };
}

/** @param {string} moment */
function ageOf(moment, now = new Date()) {
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const then = new Date(moment).getTime();
  if (then >= today) return "today";
  if (then >= today - DAY_MS) return "yesterday";
  return then >= today - 7 * DAY_MS ? "thisWeek" : "earlier";
}
