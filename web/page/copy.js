/** A button that copies a text to the clipboard and confirms it. */

import { icon, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const CONFIRMATION_MS = 1500;

/** @param {string} label @param {() => string} text */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      // The clipboard is forbidden, or missing without TLS. The button then shows no confirmation.
      return;
    }
    show("copied", "done", t("copied"));
    setTimeout(show, CONFIRMATION_MS, "", "copy", label);
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
