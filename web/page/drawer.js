/** On a narrow screen the sidebar covers the conversation. A button opens it. Escape, a choice, or a touch
 * outside the sidebar closes it. */

import { byId } from "./dom.js";

export function createDrawer() {
  const sidebar = byId("sidebar");
  const main = byId("conversation");
  const button = byId("open-sidebar");
  const narrow = matchMedia("(max-width: 52rem)");

  function setOpen(/** @type {boolean} */ open) {
    document.body.dataset.sidebar = open ? "open" : "closed";
    button.setAttribute("aria-expanded", String(open));
    // Hidden parts must not get the focus.
    sidebar.inert = narrow.matches && !open;
    main.inert = narrow.matches && open;
  }

  function close() {
    const focused = sidebar.contains(document.activeElement);
    setOpen(false);
    if (focused && narrow.matches) button.focus();
  }

  button.addEventListener("click", () => {
    setOpen(true);
    byId("new-chat").focus();
  });
  byId("close-sidebar").addEventListener("click", close);
  byId("veil").addEventListener("click", close);
  // A click on the open conversation closes the drawer too, although the address stays the same.
  sidebar.addEventListener("click", (/** @type {any} */ { target }) => target.closest("a") && close());
  addEventListener("keydown", (event) => {
    // If a dialog is open, Escape closes only the dialog.
    const isOpen = document.body.dataset.sidebar === "open" && !document.querySelector("dialog[open]");
    if (event.key === "Escape" && isOpen) close();
  });
  narrow.addEventListener("change", () => setOpen(false));
  setOpen(false);
  return { close };
}
