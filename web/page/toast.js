/** A short message at the edge of the page, with an optional action. It stays while the pointer is on it or it
 * has the focus. */

import { byId, h, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const DURATION_MS = 8000;

/** @param {string} text @param {{ label: string, act: () => void, onDismiss: () => void }} [choice] `onDismiss`
 * is called if the action was not chosen */
export function toast(text, choice) {
  let timer = 0;
  const element = h("div", { class: "toast" }, h("p", { dir: "auto" }, text));
  const end = (/** @type {(() => void) | undefined} */ then) => {
    clearTimeout(timer);
    if (!element.isConnected) return;
    const focused = element.contains(document.activeElement);
    element.remove();
    // The focus must not be lost with the removed button.
    if (focused) byId("message").focus();
    then?.();
  };
  const dismiss = () => end(choice?.onDismiss);
  const hold = () => clearTimeout(timer);
  const wait = () => {
    hold();
    timer = window.setTimeout(dismiss, DURATION_MS);
  };

  if (choice) {
    const onclick = () => end(choice.act);
    element.append(h("button", { type: "button", class: "quiet", onclick }, choice.label));
  }
  element.append(iconButton("close", t("dismiss"), dismiss));
  for (const type of ["pointerenter", "focusin"]) element.addEventListener(type, hold);
  for (const type of ["pointerleave", "focusout"]) element.addEventListener(type, wait);
  byId("toasts").append(element);
  wait();
}
