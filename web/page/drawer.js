/** On a narrow screen the sidebar lies over the conversation: opened by a button, closed by Escape, a choice,
 * or a touch beside it. */

import { byId } from "./dom.js";

export function createDrawer() {
  const sidebar = byId("sidebar");
  const main = byId("conversation");
  const button = byId("open-sidebar");
  const narrow = matchMedia("(max-width: 52rem)");

  function become(/** @type {boolean} */ open) {
    document.body.dataset.sidebar = open ? "open" : "closed";
    button.setAttribute("aria-expanded", String(open));
    // What cannot be seen cannot be reached.
    sidebar.inert = narrow.matches && !open;
    main.inert = narrow.matches && open;
  }

  function close() {
    const focused = sidebar.contains(document.activeElement);
    become(false);
    if (focused && narrow.matches) button.focus();
  }

  button.addEventListener("click", () => {
    become(true);
    byId("new-chat").focus();
  });
  byId("close-sidebar").addEventListener("click", close);
  byId("veil").addEventListener("click", close);
  // The one that is open already is a choice, too, though the address stays the same.
  sidebar.addEventListener("click", (/** @type {any} */ { target }) => target.closest("a") && close());
  addEventListener("keydown", (event) => {
    // One thing at a time: a dialog above it first.
    const on = document.body.dataset.sidebar === "open" && !document.querySelector("dialog[open]");
    if (event.key === "Escape" && on) close();
  });
  narrow.addEventListener("change", () => become(false));
  become(false);
  return { close };
}
