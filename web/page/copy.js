/** A button that puts a text on the clipboard, and says that it did. */

import { icon, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const TOLD_MS = 1500;

/** @param {string} label @param {() => string} text */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      // Forbidden, or not there at all without TLS: nothing was copied, and nothing says so.
      return;
    }
    show("copied", "done", t("copied"));
    setTimeout(show, TOLD_MS, "", "copy", label);
  });

  /** @param {string} state @param {"copy" | "done"} drawing @param {string} name */
  function show(state, drawing, name) {
    button.dataset.state = state;
    button.replaceChildren(icon(drawing));
    button.title = name;
    button.setAttribute("aria-label", name);
  }
  return button;
}
